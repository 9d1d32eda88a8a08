/** Which snapshots rules would keep, and why: what shared/domain/retention.py decides, before it is saved. */
import type { RetentionBody, SnapshotView } from "@/api";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

/** The number of the hour, day or (from Monday) week that a moment lies in, in UTC. */
const PERIODS: [keyof RetentionBody, string, (at: number) => number][] = [
  ["hourly", "hour", (at) => Math.floor(at / HOUR)],
  ["daily", "day", (at) => Math.floor(at / DAY)],
  ["weekly", "week", (at) => Math.floor((at / DAY + 3) / 7)],
];

export function keptBy(snapshots: readonly Pick<SnapshotView, "id" | "created_at" | "pinned">[], rules: Required<RetentionBody>): Map<string, string> {
  const ordered = [...snapshots].sort((a, b) => Date.parse(b.created_at) - Date.parse(a.created_at));
  const reasons = new Map(ordered.filter((one) => one.pinned).map((one) => [one.id, "pinned"]));
  const keep = (id: string, why: string) => {
    if (!reasons.has(id)) reasons.set(id, why);
  };
  ordered.slice(0, Math.max(1, rules.last)).forEach((one, place) => keep(one.id, place === 0 ? "the newest" : `one of the last ${rules.last}`));
  for (const [rule, name, periodOf] of PERIODS) {
    const periods = new Set<number>();
    for (const one of ordered) {
      const period = periodOf(Date.parse(one.created_at));
      if (periods.has(period)) continue;
      if (periods.size === rules[rule]) break;
      periods.add(period);
      keep(one.id, `the newest of its ${name}`);
    }
  }
  return reasons;
}
