/** What would have been paid, what was paid, and how each difference is worked out. */
import type { UsageView } from "@/api";
import { usd, usdPerHour } from "@/lib/format";

function Bar({ label, amount, most, colour }: { label: string; amount: number; most: number; colour: string }) {
  return (
    <div className="grid gap-1">
      <div className="flex justify-between gap-3">
        <span>{label}</span>
        <span className="font-medium tabular-nums">{usd(amount)}</span>
      </div>
      <span aria-hidden className="h-2 rounded-full bg-muted">
        <span className={`block h-full rounded-full ${colour}`} style={{ width: `${(amount / most) * 100}%` }} />
      </span>
    </div>
  );
}

function Saving({ label, amount, formula }: { label: string; amount: string; formula: string }) {
  const value = Number(amount);
  return (
    <div className="grid gap-x-4 gap-y-1 py-3 sm:grid-cols-[10rem_1fr]">
      <dt className="grid content-start">
        <span className="text-xs text-muted-foreground">{label}</span>
        <span className={`text-lg font-semibold tabular-nums ${value > 0 ? "text-good" : value < 0 ? "text-bad" : ""}`}>{usd(amount)}</span>
      </dt>
      <dd className="self-center text-muted-foreground">{formula}</dd>
    </div>
  );
}

export function Savings({ usage }: { usage: UsageView }) {
  const { savings } = usage;
  const paid = Number(usage.total_usd);
  const awake = paid + Number(savings.asleep_usd);
  const listed = awake + Number(savings.market_usd);
  const most = Math.max(paid, awake, listed, 0.0001);
  return (
    <div className="grid gap-4 text-sm">
      <div className="grid gap-3">
        <Bar label="Paid" amount={paid} most={most} colour="bg-primary" />
        <Bar label="Had nothing slept" amount={awake} most={most} colour="bg-muted-foreground/50" />
        <Bar label="And run at on-demand list prices" amount={listed} most={most} colour="bg-muted-foreground/30" />
      </div>
      <dl className="divide-y border-t">
        <Saving label="Saved by sleeping" amount={savings.asleep_usd} formula={savings.asleep_formula} />
        <Saving label="Saved against on demand" amount={savings.market_usd} formula={savings.market_formula} />
      </dl>
      {(savings.references.length > 0 || savings.no_reference.length > 0) && (
        <div className="grid gap-1 border-t pt-3 text-xs text-muted-foreground">
          <p className="font-medium text-foreground">List prices</p>
          <ul className="grid gap-0.5">
            {savings.references.map((one) => (
              <li key={one.gpu_name} className="flex flex-wrap gap-x-2">
                <span className="text-foreground">{one.gpu_name}</span>
                <span className="tabular-nums">{usdPerHour(one.usd_per_gpu_hour)} a GPU</span>
                <span>
                  {one.source}, {one.date}
                </span>
              </li>
            ))}
            {savings.no_reference.length > 0 && <li>None known, so nothing is counted for: {savings.no_reference.join(", ")}</li>}
          </ul>
        </div>
      )}
    </div>
  );
}
