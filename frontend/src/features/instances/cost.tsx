/** What an instance has cost against a machine that never sleeps, and what it may cost in a month. */
import { useMemo, useState, type FormEvent } from "react";
import { useSetInstanceBudgetMutation, useShowInstanceBudgetQuery, useShowUsageQuery, type InstanceView, type UsageView } from "@/api";
import { PACE } from "@/api/hooks";
import { BudgetBar } from "@/components/budget-bar";
import { tell } from "@/components/tell";
import { Button } from "@/components/ui/button";
import { Field, Input } from "@/components/ui/field";
import { usd } from "@/lib/format";

const LONGEST = 90 * 86_400_000;

export function useCost(instance: InstanceView): UsageView | undefined {
  const since = useMemo(() => new Date(Math.max(Date.parse(instance.created_at), Date.now() - LONGEST)).toISOString(), [instance.created_at]);
  return useShowUsageQuery({ instance: instance.id, since }, { pollingInterval: PACE.detail, skipPollingIfUnfocused: true }).data?.data;
}

/** What it would have cost had its machine never gone: what was paid, and each hour asleep at the rate before. */
export const alwaysOn = (usage: UsageView): number => Number(usage.total_usd) + Number(usage.savings.asleep_usd);

export function CostAndBudget({ instance, usage }: { instance: InstanceView; usage: UsageView | undefined }) {
  const budget = useShowInstanceBudgetQuery({ instance: instance.id }).data?.data;
  const [limit, setLimit] = useState<string | null>(null);
  const [save, { isLoading }] = useSetInstanceBudgetMutation();
  const shown = limit ?? budget?.usd_per_month ?? "";
  const submit = (event: FormEvent) => {
    event.preventDefault();
    void tell(
      shown ? `${instance.name} may cost $${shown} a month` : "It has no budget of its own any more",
      save({ instance: instance.id, budgetBody: { usd_per_month: shown || null } }).unwrap(),
    );
  };
  const paid = Number(usage?.total_usd ?? 0);
  const most = usage ? Math.max(alwaysOn(usage), 0.0001) : 1;
  return (
    <div className="grid gap-4 text-sm">
      {usage && (
        <div className="grid gap-2">
          {(
            [
              ["Paid so far", paid, "bg-primary"],
              ["Had it never slept", alwaysOn(usage), "bg-muted-foreground/50"],
            ] as const
          ).map(([label, amount, colour]) => (
            <div key={label} className="grid gap-1">
              <div className="flex justify-between">
                <span className="text-muted-foreground">{label}</span>
                <span className="font-medium tabular-nums">{usd(amount)}</span>
              </div>
              <span aria-hidden className="h-1.5 rounded-full bg-muted">
                <span className={`block h-full rounded-full ${colour}`} style={{ width: `${(amount / most) * 100}%` }} />
              </span>
            </div>
          ))}
          {Number(usage.wasted_usd) > 0 && <p className="text-xs text-muted-foreground">Of it {usd(usage.wasted_usd)} for machines that never served.</p>}
        </div>
      )}
      {budget && budget.usd_per_month !== null && <BudgetBar budget={budget} />}
      <form onSubmit={submit} className="flex flex-wrap items-end gap-2" aria-label="Budget of this instance">
        <div className="min-w-40 flex-1">
          <Field label="Its own budget, $ a month" hint="At 100 % it hibernates. Empty: none.">
            <Input inputMode="decimal" pattern="[0-9]*(\.[0-9]{1,2})?" value={shown} onChange={(e) => setLimit(e.target.value)} />
          </Field>
        </div>
        <Button type="submit" variant="outline" className="mb-5" disabled={isLoading}>
          Save
        </Button>
      </form>
    </div>
  );
}
