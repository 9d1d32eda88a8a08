import { MEANING, type State } from "@/api/lifecycle.gen";
import { cn } from "@/lib/cn";

/** A new state does not compile until it is dressed. */
const COLOUR: Record<State, string> = {
  provisioning: "text-info border-info/40 bg-info/10",
  running: "text-good border-good/40 bg-good/10",
  hibernating: "text-info border-info/40 bg-info/10",
  hibernated: "text-muted-foreground bg-muted",
  waking: "text-info border-info/40 bg-info/10",
  failing_over: "text-warn border-warn/40 bg-warn/10",
  on_standby: "text-warn border-warn/40 bg-warn/10",
  destroying: "text-warn border-warn/40 bg-warn/10",
  destroyed: "text-muted-foreground bg-muted",
  failed: "text-bad border-bad/40 bg-bad/10",
};

export function StateBadge({ state }: { state: string }) {
  const known = state as State;
  return (
    <span
      title={MEANING[known]}
      data-state-badge={state}
      className={cn("inline-flex items-center rounded-full border px-2 py-0.5 text-xs font-medium", COLOUR[known])}
    >
      {state.replaceAll("_", " ")}
    </span>
  );
}
