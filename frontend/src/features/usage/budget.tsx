import { useState, type FormEvent } from "react";
import { Link } from "react-router";
import { useSetBudgetMutation, type BudgetView } from "@/api";
import { BudgetBar } from "@/components/budget-bar";
import { tell } from "@/components/tell";
import { Button } from "@/components/ui/button";
import { Field, Input } from "@/components/ui/field";
import { paths } from "@/lib/paths";

export function Budget({ budget }: { budget: BudgetView }) {
  const [limit, setLimit] = useState(budget.usd_per_month ?? "");
  const [save, { isLoading }] = useSetBudgetMutation();
  const submit = (event: FormEvent) => {
    event.preventDefault();
    void tell(limit ? `Your budget is $${limit} a month` : "No budget any more", save({ budgetBody: { usd_per_month: limit || null } }).unwrap());
  };
  return (
    <div className="grid gap-4 text-sm">
      {budget.usd_per_month === null ? <p className="text-muted-foreground">None: nothing but you stops what costs money.</p> : <BudgetBar budget={budget} />}
      <form onSubmit={submit} className="flex items-end gap-2" aria-label="Budget">
        <div className="max-w-40 min-w-0 flex-1">
          <Field label="USD a month">
            <Input inputMode="decimal" pattern="[0-9]*(\.[0-9]{1,2})?" placeholder="none" value={limit} onChange={(e) => setLimit(e.target.value)} />
          </Field>
        </div>
        <Button type="submit" variant="outline" disabled={isLoading}>
          Save
        </Button>
      </form>
      {budget.instances.length > 0 && (
        <div className="grid gap-3 border-t pt-3">
          <h3 className="font-medium">Instances with one of their own</h3>
          <ul className="grid gap-3">
            {budget.instances.map((one) => (
              <li key={one.instance_id} className="grid gap-1">
                <Link className="justify-self-start underline-offset-4 hover:underline" to={`${paths.instance(one.instance_id)}#cost`}>
                  {one.name}
                </Link>
                <BudgetBar budget={one} label={`Budget of ${one.name} spent`} />
              </li>
            ))}
          </ul>
        </div>
      )}
    </div>
  );
}
