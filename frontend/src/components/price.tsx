import type { PriceView } from "@/api";
import { usdPerHour } from "@/lib/format";

const PARTS: [keyof Omit<PriceView, "total">, string][] = [
  ["gpu", "GPU"],
  ["disk", "disk"],
  ["transfer", "transfer"],
  ["dud", "duds"],
];

/** Of what the first hour's price is made, in dollars; duds are what failed tries are expected to cost. */
export const partsOf = (price: PriceView): string =>
  PARTS.filter(([key]) => Number(price[key]) > 0)
    .map(([key, label]) => `${label} ${Number(price[key]).toFixed(3)}`)
    .join(" + ");

/** What the first hour costs in all, with its parts. */
export function Price({ price }: { price: PriceView }) {
  return (
    <span className="grid justify-items-end">
      <span className="font-medium tabular-nums">{usdPerHour(price.total)}</span>
      <span className="text-xs whitespace-normal text-muted-foreground lg:whitespace-nowrap">{partsOf(price)}</span>
    </span>
  );
}

/** How often the machine became ready when asked, with how much that rests on. */
export function Record({ rate, counted, bootS }: { rate: number | null; counted: number; bootS: number | null }) {
  if (rate === null || counted === 0) return <span className="text-xs text-muted-foreground">never tried</span>;
  return (
    <span className="text-xs whitespace-nowrap tabular-nums">
      {Math.round(rate * 100)} % of {counted}
      {bootS !== null && `, ready in ${Math.round(bootS)} s`}
    </span>
  );
}
