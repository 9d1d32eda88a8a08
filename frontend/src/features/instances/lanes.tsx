/** A lane per machine: what stage it was in at a moment, for how long, why it ended. */
import { endOf, stageAt, type Lane, type Stage } from "@/features/instances/race";
import { cn } from "@/lib/cn";
import { span, usd, usdPerHour } from "@/lib/format";

const WORDS: Record<Stage, string> = {
  waiting: "Not asked yet",
  asked: "Asking the provider",
  booting: "Booting",
  won: "Winner",
  ending: "Being ended",
  gone: "Gone",
};

function Track({ lane, now, from, to }: { lane: Lane; now: number; from: number; to: number }) {
  const place = (at: number) => `${(Math.min(1, Math.max(0, (at - from) / Math.max(1, to - from))) * 100).toFixed(2)}%`;
  const over = Math.min(now, lane.wonAt ?? lane.endedAt ?? lane.goneAt ?? now);
  const pieces: [number, number, string][] = [[lane.askedAt, Math.min(over, lane.madeAt ?? over), "bg-muted-foreground/50"]];
  if (lane.madeAt !== null) pieces.push([lane.madeAt, over, lane.wonAt !== null && now >= lane.wonAt ? "bg-good" : "bg-info"]);
  if (lane.wonAt === null && lane.endedAt !== null) pieces.push([lane.endedAt, Math.min(now, lane.goneAt ?? now), "bg-warn/60"]);
  return (
    <span aria-hidden className="relative block h-2 rounded-full bg-muted">
      {pieces
        .filter(([start, end]) => end > start && now >= start)
        .map(([start, end, colour]) => (
          <span key={start} className={cn("absolute inset-y-0 rounded-full", colour)} style={{ left: place(start), right: `calc(100% - ${place(end)})` }} />
        ))}
      {lane.wonAt !== null && now >= lane.wonAt && (
        <span className="absolute -top-1 h-4 w-1 rounded-full bg-good" style={{ left: `calc(${place(lane.wonAt)} - 2px)` }} />
      )}
    </span>
  );
}

export function Lanes({ lanes, now, from }: { lanes: readonly Lane[]; now: number; from: number }) {
  const to = Math.max(from + 1000, endOf(lanes, now));
  const ordered = [...lanes].sort((a, b) => Number(b.wonAt !== null) - Number(a.wonAt !== null) || a.askedAt - b.askedAt);
  return (
    <ul className="grid gap-2">
      {ordered.map((lane) => {
        const stage = stageAt(lane, now);
        const end = lane.wonAt ?? lane.endedAt ?? lane.goneAt ?? now;
        return (
          <li key={lane.id} data-stage={stage} className={cn("grid gap-1.5 rounded-md border px-3 py-2", stage === "won" && "border-good/50 bg-good/5", stage === "waiting" && "border-dashed")}>
            <span className="flex flex-wrap items-baseline justify-between gap-x-3 text-sm">
              <span className="min-w-0 break-words">
                <strong className="font-medium">{lane.who}</strong> <span className="text-muted-foreground">{lane.what}</span>
              </span>
              <span className="whitespace-nowrap tabular-nums">
                {usdPerHour(lane.usdPerHour)} · {span(Math.max(0, Math.min(now, end) - lane.askedAt) / 1000)}
              </span>
            </span>
            <Track lane={lane} now={now} from={from} to={to} />
            <span className="text-xs">
              <span className={cn(stage === "won" && "font-semibold text-good", stage === "ending" && "text-warn", (stage === "booting" || stage === "asked") && "text-info")}>
                {WORDS[stage]}
              </span>
              {(stage === "ending" || stage === "gone") && (
                <span className="text-muted-foreground">
                  {lane.why && `: ${lane.why}`}
                  {lane.usd !== null && `; it cost ${usd(lane.usd)}`}
                </span>
              )}
              {stage === "won" && lane.why && <span className="text-muted-foreground">; later: {lane.why}</span>}
            </span>
          </li>
        );
      })}
    </ul>
  );
}
