/** What was measured, for bench/console.py: a JSON line each in the file that DUMONT_FIGURES names. */
import { appendFileSync } from "node:fs";

export function figure(name: string, value: unknown): void {
  const file = process.env.DUMONT_FIGURES;
  if (!file) throw new Error("DUMONT_FIGURES is not set; run `make bench NAME=console`");
  appendFileSync(file, `${JSON.stringify({ [name]: value })}\n`);
}

export const rounded = (value: number): number => Math.round(value * 10) / 10;

/** The value that a share of them does not exceed. */
export function quantile(values: readonly number[], share: number): number {
  if (values.length === 0) throw new Error("nothing was measured");
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)]!;
}
