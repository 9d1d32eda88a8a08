import { useState, type FormEvent } from "react";
import { Link } from "react-router";
import {
  useSetBudgetMutation,
  useShowLedgerQuery,
  useShowUsageQuery,
  type BudgetView,
  type InstanceUsageView,
  type LedgerRowView,
  type UsageView,
} from "@/api";
import { BudgetBar } from "@/components/budget-bar";
import { DataTable, type Column } from "@/components/data-table";
import { Empty, ErrorPanel, Freshness, Loading } from "@/components/states";
import { tell } from "@/components/tell";
import { Button } from "@/components/ui/button";
import { Card, CardTitle } from "@/components/ui/card";
import { Field, Input, Select } from "@/components/ui/field";
import { csvOf } from "@/features/usage/csv";
import { cn } from "@/lib/cn";
import { bytes, span, usd, usdPerHour } from "@/lib/format";
import { download } from "@/lib/download";
import { paths } from "@/lib/paths";
import { useTitle } from "@/lib/use-title";

const RANGES: [string, number | null][] = [
  ["This month", null],
  ["Last 24 hours", 1],
  ["Last 7 days", 7],
  ["Last 30 days", 30],
  ["Last 90 days", 90],
];

function Days({ days }: { days: UsageView["days"] }) {
  const most = Math.max(...days.map((one) => Number(one.usd)), 0.0001);
  const sum = days.reduce((all, one) => all + Number(one.usd), 0);
  return (
    <figure className="grid gap-2">
      <svg viewBox={`0 0 ${days.length * 10} 60`} preserveAspectRatio="none" className="h-28 w-full" role="img" aria-label={`${usd(sum)} over ${days.length} days, at most ${usd(most)} a day`}>
        {days.map((one, index) => {
          const height = (Number(one.usd) / most) * 56;
          return (
            <rect key={one.day} x={index * 10 + 1} y={60 - height} width="8" height={Math.max(height, 0.5)} className="fill-primary">
              <title>{`${one.day}: ${usd(one.usd)}`}</title>
            </rect>
          );
        })}
      </svg>
      <figcaption className="flex justify-between text-xs text-muted-foreground">
        <span>{days[0]?.day}</span>
        <span>{days.at(-1)?.day} (UTC)</span>
      </figcaption>
    </figure>
  );
}

function Figure({ label, amount, children, good }: { label: string; amount: string; children?: React.ReactNode; good?: boolean }) {
  return (
    <div className="grid content-start gap-1 rounded-lg border bg-card p-4">
      <span className="text-xs text-muted-foreground">{label}</span>
      <span className={cn("text-2xl font-semibold tabular-nums", good && "text-good")}>{amount}</span>
      <span className="text-xs text-muted-foreground">{children}</span>
    </div>
  );
}

function Budget({ budget }: { budget: BudgetView }) {
  const [limit, setLimit] = useState(budget.usd_per_month ?? "");
  const [save, { isLoading }] = useSetBudgetMutation();
  const submit = (event: FormEvent) => {
    event.preventDefault();
    void tell(limit ? `Your budget is $${limit} a month` : "No budget any more", save({ budgetBody: { usd_per_month: limit || null } }).unwrap());
  };
  return (
    <div className="grid gap-3 text-sm">
      {budget.usd_per_month !== null && <BudgetBar budget={budget} />}
      <form onSubmit={submit} className="flex flex-wrap items-end gap-3" aria-label="Budget">
        <Field label="USD a month" hint="At 80 % you are warned, at 100 % instances hibernate. Nothing is ever deleted. Empty: no budget.">
          <Input inputMode="decimal" pattern="[0-9]*(\.[0-9]{1,2})?" value={limit} onChange={(e) => setLimit(e.target.value)} />
        </Field>
        <Button type="submit" variant="outline" disabled={isLoading}>
          Save
        </Button>
      </form>
    </div>
  );
}

const INSTANCES: Column<InstanceUsageView>[] = [
  { key: "name", head: "Instance", sort: (one) => one.name, cell: (one) => <Link className="underline" to={paths.instance(one.instance_id)}>{one.name}</Link> },
  { key: "state", head: "State", sort: (one) => one.state, cell: (one) => one.state.replaceAll("_", " ") },
  { key: "usd", head: "Cost", right: true, sort: (one) => Number(one.usd), cell: (one) => usd(one.usd) },
  { key: "wasted", head: "Of it wasted", right: true, sort: (one) => Number(one.wasted_usd), cell: (one) => usd(one.wasted_usd) },
  { key: "saved", head: "Saved asleep", right: true, sort: (one) => Number(one.asleep_saved_usd), cell: (one) => usd(one.asleep_saved_usd) },
];

const LEDGER: Column<LedgerRowView>[] = [
  { key: "start", head: "Created", sort: (one) => one.start, cell: (one) => <time dateTime={one.start} title={one.start}>{new Date(one.start).toLocaleString()}</time> },
  { key: "what", head: "What", sort: (one) => String(one.served), cell: (one) => (one.served ? "served" : <span className="text-muted-foreground">wasted</span>) },
  { key: "machine", head: "Machine", cell: (one) => `${one.provider} ${(one.machine_id ?? "–").slice(0, 24)}` },
  { key: "gpu", head: "GPU", sort: (one) => one.gpu_name, cell: (one) => `${one.gpu_count}× ${one.gpu_name}` },
  { key: "rate", head: "Rate", right: true, sort: (one) => Number(one.usd_per_hour), cell: (one) => usdPerHour(one.usd_per_hour) },
  { key: "lasted", head: "Lasted", right: true, sort: (one) => one.seconds, cell: (one) => `${span(one.seconds)}${one.end ? "" : " so far"}` },
  { key: "usd", head: "Cost", right: true, sort: (one) => Number(one.usd), cell: (one) => usd(one.usd) },
];

export function UsagePage() {
  useTitle("Usage");
  const [days, setDays] = useState<number | null>(null);
  const [since, setSince] = useState<string | undefined>(undefined);
  const [detail, setDetail] = useState(false);
  const { data, error, isLoading, refetch, fulfilledTimeStamp, isError } = useShowUsageQuery({ since });
  const ledger = useShowLedgerQuery({ since }, { skip: !detail });
  if (isLoading) return <Loading label="Counting" />;
  if (!data) return <ErrorPanel error={error} retry={refetch} />;
  const found = data.data;
  const { savings, storage } = found;
  return (
    <div className="grid gap-4">
      <div className="flex flex-wrap items-center justify-between gap-3">
        <h1 className="text-xl font-semibold">Usage</h1>
        <div className="flex items-center gap-4">
          <Freshness at={fulfilledTimeStamp} failed={isError} />
          <Select
            aria-label="Range"
            className="w-auto"
            value={days ?? ""}
            onChange={(e) => {
              const chosen = e.target.value ? Number(e.target.value) : null;
              setDays(chosen);
              setSince(chosen === null ? undefined : new Date(Date.now() - chosen * 86_400_000).toISOString());
            }}
          >
            {RANGES.map(([label, length]) => (
              <option key={label} value={length ?? ""}>
                {label}
              </option>
            ))}
          </Select>
        </div>
      </div>
      <div className="grid gap-3 sm:grid-cols-2 lg:grid-cols-4">
        <Figure label="Spent" amount={usd(found.total_usd)}>
          Machines {usd(found.machines_usd)}, storage {usd(storage.usd)}; now {usdPerHour(found.burning_usd_per_hour)}
        </Figure>
        <Figure label="Of it for machines that never served" amount={usd(found.wasted_usd)}>
          Race losers and failed tries
        </Figure>
        <Figure label="Saved by sleeping" amount={usd(savings.asleep_usd)} good>
          {savings.asleep_formula}
        </Figure>
        <Figure label="Saved against on demand" amount={usd(savings.market_usd)} good>
          {savings.market_formula}
        </Figure>
      </div>
      <div className="grid gap-4 lg:grid-cols-2">
        <Card>
          <CardTitle>Each day</CardTitle>
          <Days days={found.days} />
        </Card>
        <Card>
          <CardTitle>Budget</CardTitle>
          <Budget key={found.budget.usd_per_month} budget={found.budget} />
        </Card>
      </div>
      <Card>
        <CardTitle>What it is measured against</CardTitle>
        <ul className="grid gap-1 text-sm">
          {savings.references.map((one) => (
            <li key={one.gpu_name}>
              {one.gpu_name}: {usdPerHour(one.usd_per_gpu_hour)} per GPU, {one.source}, {one.date}
            </li>
          ))}
          {savings.no_reference.length > 0 && (
            <li className="text-muted-foreground">No reference price, so counted as nothing: {savings.no_reference.join(", ")}</li>
          )}
          {[storage, ...found.own_storage].map((one, place) => (
            <li key={one.name}>
              {place === 0 ? "Storage" : `Your own bucket ${one.name}`}: {bytes(one.bytes)} at ${one.usd_per_gb_month} per GB and month, {one.source}
              {one.minimum_days > 0 && `, billed for ${one.minimum_days} days at least`}
              {place > 0 && `: ${usd(one.usd)}, which its vendor bills you, not in the total`}
            </li>
          ))}
        </ul>
      </Card>
      {found.instances.length === 0 ? (
        <Empty title="Nothing was paid for in this time">
          <p>Once a machine is rented, every second of it is here.</p>
        </Empty>
      ) : (
        <DataTable label="Instances" rows={found.instances} columns={INSTANCES} rowKey={(one) => one.instance_id} />
      )}
      <div className="flex flex-wrap items-center gap-3">
        <Button variant="outline" onClick={() => setDetail(!detail)} aria-expanded={detail}>
          {detail ? "Hide the ledger" : "Show every machine"}
        </Button>
        {detail && ledger.data && (
          <Button variant="outline" onClick={() => download("dumont-ledger.csv", csvOf(ledger.data!.data.rows as unknown as Record<string, unknown>[]), "text/csv")}>
            Download CSV
          </Button>
        )}
      </div>
      {detail &&
        (ledger.isLoading ? (
          <Loading />
        ) : ledger.error ? (
          <ErrorPanel error={ledger.error} retry={ledger.refetch} />
        ) : (
          <DataTable label="Ledger" rows={ledger.data?.data.rows ?? []} columns={LEDGER} rowKey={(one) => one.attempt_id} />
        ))}
    </div>
  );
}
