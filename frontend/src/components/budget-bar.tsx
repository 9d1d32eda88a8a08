import type { InstanceBudgetView } from "@/api";
import { cn } from "@/lib/cn";
import { percent, usd } from "@/lib/format";

/** How much of a month's budget is spent. */
export function BudgetBar({ budget, label = "Budget spent" }: { budget: Pick<InstanceBudgetView, "usd_per_month" | "spent_usd" | "share" | "warned" | "reached">; label?: string }) {
  const share = Math.min(1, budget.share ?? 0);
  return (
    <div className="grid gap-1">
      <div
        role="progressbar"
        aria-label={label}
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuenow={Math.round(share * 100)}
        className="h-2 overflow-hidden rounded-full bg-muted"
      >
        <div className={cn("h-full", budget.reached ? "bg-bad" : budget.warned ? "bg-warn" : "bg-good")} style={{ width: `${share * 100}%` }} />
      </div>
      <p className="text-sm">
        {usd(budget.spent_usd)} of {usd(budget.usd_per_month ?? 0)} this month ({percent(budget.share ?? 0)}).{" "}
        {budget.reached && <strong className="text-bad">Used up: nothing new is rented.</strong>}
      </p>
    </div>
  );
}
