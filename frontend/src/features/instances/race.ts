/** Races as lanes in time: the running one from its attempts, past ones from the event log and the ledger. Pure. */
import type { AttemptView, EventView, InstanceView, LedgerRowView } from "@/api";

/** One machine that was asked for. Times are milliseconds since 1970. */
export interface Lane {
  id: string;
  who: string;
  what: string;
  usdPerHour: string;
  askedAt: number;
  /** The provider had made it. */
  madeAt: number | null;
  wonAt: number | null;
  /** It was wanted no longer. */
  endedAt: number | null;
  /** It was proven gone. */
  goneAt: number | null;
  why: string | null;
  usd: string | null;
}

export interface Race {
  at: number;
  words: string;
  lanes: Lane[];
}

const time = (at: string | null): number | null => (at === null ? null : Date.parse(at));

const what = (count: number, gpu: string, region: string): string => `${count}× ${gpu}${region && ` · ${region}`}`;

export function laneOf(attempt: AttemptView): Lane {
  return {
    id: attempt.id,
    who: `${attempt.provider} ${attempt.host_id.slice(0, 18)}`,
    what: what(attempt.gpu_count, attempt.gpu_name, attempt.region),
    usdPerHour: attempt.usd_per_hour,
    askedAt: Date.parse(attempt.opened_at),
    madeAt: time(attempt.created_at),
    wonAt: time(attempt.adopted_at),
    endedAt: time(attempt.receipt?.requested_at ?? null),
    goneAt: time(attempt.receipt?.confirmed_at ?? null),
    why: attempt.why,
    usd: attempt.receipt?.usd ?? null,
  };
}

const BEGINS: Record<string, string> = { provisioning: "First start", waking: "Wake", failing_over: "Failover", on_standby: "GPU for the standby" };

/** Past races, newest first. The ledger knows every machine, the event log when a race began and who won it. */
export function racesOf(events: readonly EventView[], rows: readonly LedgerRowView[]): Race[] {
  const won = new Map(events.flatMap((one) => (one.kind === "adopted" ? [[String(one.details.attempt_id), Date.parse(one.at)] as const] : [])));
  const begun = events
    .filter((one) => BEGINS[one.kind] !== undefined)
    .map((one) => ({ at: Date.parse(one.at), words: BEGINS[one.kind]! }))
    .sort((a, b) => a.at - b.at);
  const lanes = rows
    .filter((one) => one.gpu_count > 0)
    .map(
      (row): Lane => ({
        id: row.attempt_id,
        who: `${row.provider} ${(row.machine_id ?? "").slice(0, 18)}`,
        what: what(row.gpu_count, row.gpu_name, ""),
        usdPerHour: row.usd_per_hour,
        askedAt: Date.parse(row.start),
        madeAt: Date.parse(row.start),
        wonAt: won.get(row.attempt_id) ?? null,
        endedAt: null,
        goneAt: time(row.end),
        why: row.why,
        usd: row.usd,
      }),
    )
    .sort((a, b) => a.askedAt - b.askedAt);
  return begun
    .map(({ at, words }, place) => ({
      at,
      words,
      lanes: lanes.filter((one) => one.askedAt >= at && one.askedAt < (begun[place + 1]?.at ?? Infinity)),
    }))
    .filter((one) => one.lanes.length > 0)
    .reverse();
}

/** When there is nothing more to see: the winner serves and every loser is gone. */
export function endOf(lanes: readonly Lane[], now: number): number {
  return Math.max(...lanes.map((one) => one.wonAt ?? one.goneAt ?? one.endedAt ?? now));
}

export type Stage = "waiting" | "asked" | "booting" | "won" | "ending" | "gone";

export function stageAt(lane: Lane, now: number): Stage {
  if (now < lane.askedAt) return "waiting";
  if (lane.wonAt !== null && now >= lane.wonAt) return "won";
  if (lane.goneAt !== null && now >= lane.goneAt) return "gone";
  if (lane.endedAt !== null && now >= lane.endedAt) return "ending";
  return lane.madeAt !== null && now >= lane.madeAt ? "booting" : "asked";
}

export const lanesNow = (instance: InstanceView): Lane[] => {
  const all = instance.attempts ?? [];
  const newest = Math.max(0, ...all.map((one) => one.round));
  return all.filter((one) => one.round === newest && one.gpu_count > 0).map(laneOf);
};
