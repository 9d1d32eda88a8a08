/** A measured failover as steps in time. */
import type { FailoverView } from "@/api";

export interface Step {
  words: string;
  at: string;
  /** Seconds since the machine was last heard from. */
  afterS: number;
}

const STEPS: [keyof FailoverView, string][] = [
  ["heard_at", "The machine was last heard from"],
  ["detected_at", "It counted as lost; its token was void"],
  ["promoted_at", "The standby served the files"],
  ["gpu_found_at", "A GPU was won"],
  ["back_at", "Every file was on the GPU; it served again"],
];

export function stepsOf(failover: FailoverView): Step[] {
  const begun = Date.parse(failover.heard_at);
  return STEPS.flatMap(([key, words]) => {
    const at = failover[key] as string | null;
    return at ? [{ words, at, afterS: (Date.parse(at) - begun) / 1000 }] : [];
  }).sort((a, b) => a.afterS - b.afterS);
}

/** How far along each step lies; the first is 0, the last 1. */
export const sharesOf = (steps: readonly Step[]): number[] => {
  const all = steps.at(-1)?.afterS ?? 0;
  return steps.map((one) => (all > 0 ? one.afterS / all : 0));
};
