import { useMemo, useState } from "react";
import { Link } from "react-router";
import { useListInstancesQuery, useShowUsageQuery, type InstanceView } from "@/api";
import { isPassing } from "@/api/can";
import { Snippet } from "@/components/copy";
import { DataTable, type Column } from "@/components/data-table";
import { PageHead } from "@/components/page";
import { Stat, Stats } from "@/components/stat";
import { StateBadge } from "@/components/state-badge";
import { Empty, ErrorPanel, Loading } from "@/components/states";
import { Button } from "@/components/ui/button";
import { Input } from "@/components/ui/field";
import { Since } from "@/components/when";
import { Actions } from "@/features/instances/actions";
import { NextEvent } from "@/features/instances/next-event";
import { bytes, percent, usd, usdPerHour } from "@/lib/format";
import { paths } from "@/lib/paths";
import { savedOf } from "@/lib/saved";
import { useTitle } from "@/lib/use-title";

const gpuOf = (one: InstanceView): string =>
  `${one.need.gpu_count}× ${one.machine?.gpu_name ?? one.need.gpu_name ?? "any GPU"}`;

type Row = InstanceView & { spent: string | null };

const COLUMNS: Column<Row>[] = [
  {
    key: "name",
    head: "Name",
    sort: (one) => one.name,
    cell: (one) => (
      <Link className="inline-block min-h-6 max-w-56 truncate align-middle leading-6 font-medium underline-offset-4 hover:underline max-sm:max-w-full" title={one.name} to={paths.instance(one.id)}>
        {one.name}
      </Link>
    ),
  },
  { key: "state", head: "State", card: "beside", sort: (one) => one.state, cell: (one) => <StateBadge state={one.state} /> },
  {
    key: "gpu",
    head: "GPU",
    sort: gpuOf,
    cell: (one) => (
      <span className="grid whitespace-nowrap">
        {gpuOf(one)}
        {one.machine && (
          <span className="text-xs text-muted-foreground">
            {one.machine.provider}
            {one.machine.region && `, ${one.machine.region}`}
            {one.has_standby && " + standby"}
          </span>
        )}
      </span>
    ),
  },
  { key: "now", head: "Now", cell: (one) => <NextEvent instance={one} short /> },
  { key: "for", head: "For", right: true, sort: (one) => one.entered_at, cell: (one) => <Since at={one.entered_at} /> },
  {
    key: "price",
    head: "Rate",
    right: true,
    sort: (one) => Number(one.machine?.usd_per_hour ?? 0),
    cell: (one) => (one.machine ? usdPerHour(one.machine.usd_per_hour) : "–"),
  },
  { key: "spent", head: "This month", right: true, sort: (one) => Number(one.spent ?? 0), cell: (one) => (one.spent === null ? "–" : usd(one.spent)) },
  { key: "act", head: "Actions", card: "end", cell: (one) => <Actions instance={one} /> },
];

function Summary({ instances }: { instances: readonly InstanceView[] }) {
  const usage = useShowUsageQuery({}).data?.data;
  const awake = instances.filter((one) => one.machine !== null);
  const rate = awake.reduce((sum, one) => sum + Number(one.machine?.usd_per_hour ?? 0), 0);
  const moving = instances.filter(isPassing).length;
  const saved = usage ? savedOf(usage) : 0;
  const spent = Number(usage?.total_usd ?? 0);
  return (
    <Stats>
      <Stat label="Awake" value={`${awake.length} of ${instances.length}`}>
        {moving > 0 ? `${moving} on the way` : "nothing on the way"}
      </Stat>
      <Stat label="Burning" value={usdPerHour(rate)}>
        {rate > 0 ? `${usd(rate * 24)} a day if none slept` : "no machine is paid for"}
      </Stat>
      <Stat label="Spent this month" value={usage ? usd(spent) : "–"}>
        {usage && Number(usage.wasted_usd) > 0 ? `of it ${usd(usage.wasted_usd)} for race losers` : "machines and storage"}
      </Stat>
      <Stat label="Saved this month" value={usage ? usd(saved) : "–"} tone={saved > 0 ? "good" : undefined}>
        {usage && saved > 0
          ? `${percent(saved / (saved + spent))} below always on at list prices`
          : usage
            ? `${bytes(usage.storage.bytes)} of snapshots kept`
            : null}
      </Stat>
    </Stats>
  );
}

export function InstancesPage() {
  useTitle("Instances");
  const { data, error, isLoading, refetch } = useListInstancesQuery({ limit: 200 });
  const costs = useShowUsageQuery({}).data?.data.instances;
  const [filter, setFilter] = useState("");
  const instances = useMemo(() => data?.data.instances ?? [], [data]);
  const shown = useMemo(() => {
    const spent = new Map((costs ?? []).map((one) => [one.instance_id, one.usd]));
    const words = filter.toLowerCase();
    return instances
      .filter((one) => `${one.name} ${one.id} ${one.state} ${gpuOf(one)}`.toLowerCase().includes(words))
      .map((one): Row => ({ ...one, spent: spent.get(one.id) ?? null }));
  }, [instances, costs, filter]);
  return (
    <div className="grid gap-4">
      <PageHead title="Instances">
        {instances.length > 4 && (
          <Input aria-label="Filter instances" placeholder="Name, state or GPU" className="w-44" value={filter} onChange={(e) => setFilter(e.target.value)} />
        )}
        <Button asChild>
          <Link to={paths.deploy}>Deploy</Link>
        </Button>
      </PageHead>
      {isLoading ? (
        <Loading label="Loading your instances" />
      ) : error && !data ? (
        <ErrorPanel error={error} retry={refetch} />
      ) : instances.length === 0 ? (
        <Empty title="No instances yet">
          <p>An instance keeps your files while machines come and go. It sleeps when its GPU idles.</p>
          <Button asChild>
            <Link to={paths.deploy}>Deploy your first</Link>
          </Button>
          <Snippet label="command" text={'dumont provision --gpu "RTX 4090"'} />
        </Empty>
      ) : (
        <>
          <Summary instances={instances} />
          {shown.length === 0 ? (
            <Empty title="Nothing matches">
              <Button variant="outline" onClick={() => setFilter("")}>
                Clear the filter
              </Button>
            </Empty>
          ) : (
            <DataTable label="Instances" rows={shown} columns={COLUMNS} rowKey={(one) => one.id} />
          )}
        </>
      )}
    </div>
  );
}
