import { useState } from "react";
import { Link } from "react-router";
import { useShowLedgerQuery, useShowUsageQuery, type InstanceUsageView, type LedgerRowView, type StorageView, type UsageView } from "@/api";
import { DataTable, type Column } from "@/components/data-table";
import { PageHead } from "@/components/page";
import { Section } from "@/components/section";
import { Stat, Stats } from "@/components/stat";
import { StateBadge } from "@/components/state-badge";
import { Empty, ErrorPanel, Freshness, Loading } from "@/components/states";
import { Button } from "@/components/ui/button";
import { Select } from "@/components/ui/field";
import { When } from "@/components/when";
import { Budget } from "@/features/usage/budget";
import { csvOf } from "@/features/usage/csv";
import { Days } from "@/features/usage/days";
import { Savings } from "@/features/usage/savings";
import { download } from "@/lib/download";
import { bytes, count, percent, span, usd, usdPerHour } from "@/lib/format";
import { paths } from "@/lib/paths";
import { savedOf } from "@/lib/saved";
import { useTitle } from "@/lib/use-title";

const RANGES: [string, number | null][] = [
  ["This month", null],
  ["Last 24 hours", 1],
  ["Last 7 days", 7],
  ["Last 30 days", 30],
  ["Last 90 days", 90],
];

const INSTANCES: Column<InstanceUsageView>[] = [
  { key: "name", head: "Instance", sort: (one) => one.name, cell: (one) => <Link className="font-medium underline-offset-4 hover:underline" to={paths.instance(one.instance_id)}>{one.name}</Link> },
  { key: "state", head: "State", card: "beside", sort: (one) => one.state, cell: (one) => <StateBadge state={one.state} /> },
  { key: "usd", head: "Cost", right: true, sort: (one) => Number(one.usd), cell: (one) => usd(one.usd) },
  { key: "wasted", head: "Of it wasted", right: true, sort: (one) => Number(one.wasted_usd), cell: (one) => usd(one.wasted_usd) },
  { key: "saved", head: "Saved asleep", right: true, sort: (one) => Number(one.asleep_saved_usd), cell: (one) => usd(one.asleep_saved_usd) },
];

const STORAGE: Column<StorageView>[] = [
  {
    key: "name",
    head: "Bucket",
    cell: (one) => (
      <span className="grid">
        <span className="font-medium">{one.name}</span>
        <span className="text-xs font-normal text-muted-foreground">
          {one.vendor}, {one.source}
        </span>
      </span>
    ),
  },
  { key: "bytes", head: "Stored", right: true, sort: (one) => one.bytes, cell: (one) => bytes(one.bytes) },
  { key: "price", head: "Per GB and month", right: true, sort: (one) => Number(one.usd_per_gb_month), cell: (one) => `$${one.usd_per_gb_month}` },
  { key: "least", head: "Billed for at least", right: true, sort: (one) => one.minimum_days, cell: (one) => (one.minimum_days > 0 ? count(one.minimum_days, "day") : "–") },
  { key: "usd", head: "Cost", right: true, sort: (one) => Number(one.usd), cell: (one) => usd(one.usd) },
];

const LEDGER: Column<LedgerRowView>[] = [
  { key: "start", head: "Created", sort: (one) => one.start, cell: (one) => <When at={one.start} /> },
  { key: "what", head: "What", card: "beside", sort: (one) => String(one.served), cell: (one) => (one.served ? <span className="text-good">served</span> : <span title={one.why ?? undefined} className="text-muted-foreground">wasted</span>) },
  { key: "machine", head: "Machine", cell: (one) => `${one.provider} ${(one.machine_id ?? "–").slice(0, 24)}` },
  { key: "gpu", head: "GPU", sort: (one) => one.gpu_name, cell: (one) => (one.gpu_count > 0 ? `${one.gpu_count}× ${one.gpu_name}` : "none: a standby") },
  { key: "rate", head: "Rate", right: true, sort: (one) => Number(one.usd_per_hour), cell: (one) => usdPerHour(one.usd_per_hour) },
  { key: "lasted", head: "Lasted", right: true, sort: (one) => one.seconds, cell: (one) => `${span(one.seconds)}${one.end ? "" : " so far"}` },
  { key: "usd", head: "Cost", right: true, sort: (one) => Number(one.usd), cell: (one) => usd(one.usd) },
];

function Ledger({ since }: { since: string | undefined }) {
  const [wanted, setWanted] = useState(false);
  const { data, error, isLoading, refetch } = useShowLedgerQuery({ since }, { skip: !wanted });
  if (!wanted) {
    return (
      <Button variant="outline" className="justify-self-start" onClick={() => setWanted(true)}>
        Show every machine
      </Button>
    );
  }
  if (isLoading) return <Loading />;
  if (!data) return <ErrorPanel error={error} retry={refetch} />;
  const { rows, usd: sum, truncated } = data.data;
  return (
    <>
      <div className="flex flex-wrap items-center justify-between gap-3 text-sm">
        <p>
          {count(rows.length, "machine")}, <strong className="tabular-nums">{usd(sum)}</strong>.{truncated && <span className="text-warn"> Only the newest; choose a shorter time for all.</span>}
        </p>
        <Button size="sm" variant="outline" onClick={() => download("dumont-ledger.csv", csvOf(rows as unknown as Record<string, unknown>[]), "text/csv")}>
          Download CSV
        </Button>
      </div>
      {rows.length === 0 ? <Empty title="No machine in this time" /> : <DataTable label="Every machine" rows={rows} columns={LEDGER} rowKey={(one) => one.attempt_id} />}
    </>
  );
}

function Found({ usage, since }: { usage: UsageView; since: string | undefined }) {
  const { storage, own_storage } = usage;
  const spent = Number(usage.total_usd);
  const machines = Number(usage.machines_usd);
  const wasted = Number(usage.wasted_usd);
  const saved = savedOf(usage);
  return (
    <>
      <Stats>
        <Stat label="Spent" value={usd(spent)}>
          machines {usd(machines)} + storage {usd(storage.usd)}
        </Stat>
        <Stat label="Burning now" value={usdPerHour(usage.burning_usd_per_hour)}>
          {Number(usage.burning_usd_per_hour) > 0 ? `${usd(Number(usage.burning_usd_per_hour) * 24)} a day if it went on` : "no machine is paid for"}
        </Stat>
        <Stat label="Wasted" value={usd(wasted)}>
          {machines > 0 ? `${percent(wasted / machines)} of what machines cost: race losers and failed tries` : "race losers and failed tries"}
        </Stat>
        <Stat label="Saved" value={usd(saved)} tone={saved > 0 ? "good" : undefined}>
          {saved > 0 ? `${percent(saved / (saved + spent))} of what it would have cost` : "by sleeping, and against on demand"}
        </Stat>
      </Stats>
      <Section id="days" title="Each day" words="In UTC: machines by the second, as their providers bill them.">
        <div className="grid gap-4">
          <Days days={usage.days} />
          {usage.providers.length > 0 && (
            <ul className="flex flex-wrap gap-x-6 gap-y-1 border-t pt-3 text-sm" aria-label="By provider">
              {usage.providers.map((one) => (
                <li key={one.name}>
                  <span className="text-muted-foreground">{one.name}</span> <span className="font-medium tabular-nums">{usd(one.usd)}</span>
                </li>
              ))}
            </ul>
          )}
        </div>
      </Section>
      <Section id="savings" title="Savings" words="Against machines that never sleep, at the list price of the same GPUs on demand.">
        <Savings usage={usage} />
      </Section>
      <Section
        id="budget"
        title="Budget"
        words={
          <>
            <p>At 80 % you are warned, at 100 % instances hibernate and nothing new is rented.</p>
            <p>Nothing is ever deleted for it. It counts this calendar month, machines alone.</p>
          </>
        }
      >
        <Budget key={usage.budget.usd_per_month} budget={usage.budget} />
      </Section>
      <Section id="instances" title="Instances" words="What each cost in this time, and what it saved asleep." bare>
        {usage.instances.length === 0 ? (
          <Empty title="Nothing was paid for in this time">
            <p>Once a machine is rented, every second of it is here.</p>
            <Button asChild variant="outline">
              <Link to={paths.deploy}>Deploy one</Link>
            </Button>
          </Empty>
        ) : (
          <DataTable label="What each instance cost" rows={usage.instances} columns={INSTANCES} rowKey={(one) => one.instance_id} />
        )}
      </Section>
      <Section
        id="storage"
        title="Storage"
        words={
          <>
            <p>Snapshots, by each vendor’s list price.</p>
            {own_storage.length > 0 && <p>What lies in buckets of your own their vendors bill you: it is not in the total.</p>}
          </>
        }
        bare
      >
        <DataTable label="What each bucket holds" rows={[storage, ...own_storage]} columns={STORAGE} rowKey={(one) => one.name} />
      </Section>
      <Section id="ledger" title="Ledger" words="Every machine that was ever asked for, from when to when, at which rate. The sums above are its sums." bare>
        <Ledger key={since} since={since} />
      </Section>
    </>
  );
}

export function UsagePage() {
  useTitle("Usage");
  const [days, setDays] = useState<number | null>(null);
  const [since, setSince] = useState<string | undefined>(undefined);
  const { data, error, isLoading, refetch, fulfilledTimeStamp, isError } = useShowUsageQuery({ since });
  return (
    <div className="grid gap-5">
      <PageHead title="Usage" words="What machines and snapshots cost, and what was saved, each with how it is worked out.">
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
      </PageHead>
      {isLoading ? <Loading label="Counting" /> : data ? <Found usage={data.data} since={since} /> : <ErrorPanel error={error} retry={refetch} />}
    </div>
  );
}
