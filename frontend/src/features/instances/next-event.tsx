import type { InstanceView } from "@/api";
import { MEANING, type State } from "@/api/lifecycle.gen";
import { span } from "@/lib/format";
import { useNow } from "@/lib/use-now";

/** What comes next by itself, in words. */
export function nextOf(instance: InstanceView, now: number): string {
  const left = (at: string | null) => (at ? (Date.parse(at) - now) / 1000 : 0);
  if (instance.state !== "running") return instance.failure ?? MEANING[instance.state as State];
  if (left(instance.hibernate_at) > 0) return `Hibernates in ${span(left(instance.hibernate_at))} unless it is used.`;
  if (left(instance.keep_awake_until) > 0) return `Kept awake for ${span(left(instance.keep_awake_until))}.`;
  const { enabled, idle_after_s, gpu_percent } = instance.idle_policy as { enabled: boolean; idle_after_s: number; gpu_percent: number };
  return enabled ? `Hibernates once its GPU stays below ${gpu_percent} % for ${span(idle_after_s)}.` : "Never hibernates by itself.";
}

/** The agent's judgement as one reads it: whether the machine counts as used, and by what. */
export function whyOf(why: string): { verdict: string; reason: string } | null {
  const [head, ...rest] = why.split(": ");
  if (!why) return null;
  if (head === "active" && rest.length > 0) return { verdict: "Counts as used", reason: rest.join(": ") };
  return why.startsWith("idle") ? { verdict: "Counts as idle", reason: why } : { verdict: "Last heard", reason: why };
}

/** What an instance is doing, why, and what happens next. */
export function NextEvent({ instance, short = false }: { instance: InstanceView; short?: boolean }) {
  const now = useNow();
  const judged = instance.state === "running" ? whyOf(instance.why) : null;
  if (short) return <span className="line-clamp-2 max-w-80 text-xs text-muted-foreground max-sm:max-w-none">{nextOf(instance, now)}</span>;
  return (
    <div className="grid gap-1">
      <p className={instance.failure && instance.state !== "running" ? "text-bad" : "font-medium"}>{nextOf(instance, now)}</p>
      {judged && (
        <p className="text-muted-foreground">
          {judged.verdict}: {judged.reason}.
        </p>
      )}
      {instance.restoring && <p className="text-info">Usable; the rest of its files is on the way.</p>}
      {instance.failure && instance.state === "running" && <p className="text-bad">{instance.failure}</p>}
    </div>
  );
}
