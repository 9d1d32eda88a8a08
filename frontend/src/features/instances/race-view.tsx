/** A lane per machine: what stage it is in, how long, who won, what the losers cost. */
import type { AttemptView, InstanceView } from "@/api";
import { cn } from "@/lib/cn";
import { secondsBetween, span, usd, usdPerHour } from "@/lib/format";
import { useNow } from "@/lib/use-now";

const STAGES = ["asked", "booting", "ready"] as const;

function stageOf(attempt: AttemptView): number {
  if (attempt.adopted_at) return 3;
  return attempt.created_at ? 2 : 1;
}

function Lane({ attempt, now }: { attempt: AttemptView; now: number }) {
  const won = attempt.adopted_at !== null;
  const over = attempt.receipt !== null;
  const end = attempt.adopted_at ?? attempt.receipt?.requested_at ?? new Date(now).toISOString();
  const age = secondsBetween(attempt.opened_at, end) ?? 0;
  const stage = stageOf(attempt);
  return (
    <li className={cn("grid gap-2 rounded-md border p-3", won && "border-good/50 bg-good/5")}>
      <div className="flex flex-wrap items-baseline justify-between gap-2 text-sm">
        <span>
          <strong>{attempt.provider}</strong> host {attempt.host_id.slice(0, 18)} · {attempt.gpu_count}× {attempt.gpu_name}
          {attempt.region && ` · ${attempt.region}`}
        </span>
        <span className="tabular-nums">
          {usdPerHour(attempt.usd_per_hour)} · {span(age)}
        </span>
      </div>
      <ol className="grid grid-cols-3 gap-1" aria-label="Stages">
        {STAGES.map((name, index) => (
          <li key={name} className="grid gap-1 text-xs text-muted-foreground">
            <span
              aria-hidden
              className={cn(
                "h-1.5 rounded-full",
                index < stage ? (won ? "bg-good" : over ? "bg-muted-foreground" : "bg-info") : "bg-muted",
                index === stage - 1 && !won && !over && "animate-pulse",
              )}
            />
            {name}
          </li>
        ))}
      </ol>
      <p className="text-xs">
        {won && <strong className="text-good">Winner</strong>}
        {won && over && " · "}
        {!won && !over && (attempt.created_at ? "Booting" : "Asking the provider")}
        {over && (
          <>
            {attempt.why}. {attempt.receipt?.confirmed_at ? "Gone" : "Being ended"}, {usd(attempt.receipt?.usd ?? 0)}.
          </>
        )}
      </p>
    </li>
  );
}

export function RaceView({ instance }: { instance: InstanceView }) {
  const now = useNow(500);
  const all = instance.attempts ?? [];
  if (all.length === 0) return null;
  const newest = Math.max(...all.map((one) => one.round));
  const lanes = all.filter((one) => one.round === newest);
  const winner = lanes.find((one) => one.adopted_at !== null);
  const wasted = lanes.filter((one) => one !== winner).reduce((sum, one) => sum + Number(one.receipt?.usd ?? 0), 0);
  const open = lanes.filter((one) => one.receipt && !one.receipt.confirmed_at).length;
  return (
    <div className="grid gap-3">
      <p aria-live="polite" className="text-sm text-muted-foreground">
        {winner ? `Won by host ${winner.host_id.slice(0, 18)}.` : `${lanes.length} machines race.`} Losers cost {usd(wasted)}
        {open > 0 ? `; ${open} not yet proven gone.` : "."}
      </p>
      <ul className="grid gap-2">
        {[...lanes].sort((a, b) => Number(b === winner) - Number(a === winner)).map((one) => (
          <Lane key={one.id} attempt={one} now={now} />
        ))}
      </ul>
    </div>
  );
}
