import type { MachineHistoryView } from "@/api";
import { cn } from "@/lib/cn";

export const READY = "ready";

/** The newest tries as marks: filled where it became ready. */
export function Tries({ machine }: { machine: MachineHistoryView }) {
  const shown = machine.recent.slice(0, 12);
  const good = shown.filter((one) => one.outcome === READY).length;
  return (
    <span role="img" aria-label={`${good} of its last ${shown.length} tries became ready`} className="flex gap-0.5">
      {shown.map((one) => (
        <span
          key={one.at}
          title={`${one.outcome.replaceAll("_", " ")}${one.why ? `: ${one.why}` : ""}`}
          className={cn("h-3.5 w-1.5 rounded-sm", one.outcome === READY ? "bg-good" : "bg-bad")}
        />
      ))}
    </span>
  );
}
