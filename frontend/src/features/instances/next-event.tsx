import type { InstanceView } from "@/api";
import { MEANING, type State } from "@/api/lifecycle.gen";
import { span } from "@/lib/format";
import { useNow } from "@/lib/use-now";

/** What an instance is doing, why, and what happens next, in words. */
export function NextEvent({ instance }: { instance: InstanceView }) {
  const now = useNow();
  const left = (at: string | null) => (at ? (Date.parse(at) - now) / 1000 : null);
  const hibernates = left(instance.hibernate_at);
  const awake = left(instance.keep_awake_until);
  if (instance.state !== "running") return <p>{instance.failure ?? MEANING[instance.state as State]}</p>;
  return (
    <div className="grid gap-1">
      <p>
        {hibernates !== null && hibernates > 0
          ? `Hibernates in ${span(hibernates)} unless it is used.`
          : awake !== null && awake > 0
            ? `Kept awake for ${span(awake)}.`
            : instance.idle_policy.enabled
              ? "Hibernates by itself after idling."
              : "Never hibernates by itself."}
      </p>
      <p className="text-muted-foreground">{instance.why}</p>
      {instance.restoring && <p className="text-info">Usable; the rest of its files is on the way.</p>}
      {instance.failure && <p className="text-bad">{instance.failure}</p>}
    </div>
  );
}
