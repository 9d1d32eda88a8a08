import { useMemo, useState } from "react";
import { Link } from "react-router";
import { useListInstancesQuery, type InstanceView } from "@/api";
import { DataTable, type Column } from "@/components/data-table";
import { StateBadge } from "@/components/state-badge";
import { Empty, ErrorPanel, Loading } from "@/components/states";
import { Button } from "@/components/ui/button";
import { Input } from "@/components/ui/field";
import { Snippet } from "@/components/copy";
import { Actions } from "@/features/instances/actions";
import { span, usdPerHour } from "@/lib/format";
import { paths } from "@/lib/paths";
import { useNow } from "@/lib/use-now";
import { useTitle } from "@/lib/use-title";

function Since({ at }: { at: string }) {
  return <>{span((useNow() - Date.parse(at)) / 1000)}</>;
}

const gpuOf = (one: InstanceView): string =>
  `${one.need.gpu_count}× ${one.machine?.gpu_name ?? one.need.gpu_name ?? "any GPU"}`;

const COLUMNS: Column<InstanceView>[] = [
  {
    key: "name",
    head: "Name",
    sort: (one) => one.name,
    cell: (one) => (
      <Link className="font-medium underline-offset-4 hover:underline" to={paths.instance(one.id)}>
        {one.name}
      </Link>
    ),
  },
  { key: "state", head: "State", sort: (one) => one.state, cell: (one) => <StateBadge state={one.state} /> },
  { key: "gpu", head: "GPU", sort: gpuOf, cell: gpuOf },
  {
    key: "price",
    head: "Price",
    right: true,
    sort: (one) => Number(one.machine?.usd_per_hour ?? 0),
    cell: (one) => (one.machine ? usdPerHour(one.machine.usd_per_hour) : "–"),
  },
  { key: "for", head: "For", right: true, sort: (one) => one.entered_at, cell: (one) => <Since at={one.entered_at} /> },
  {
    key: "why",
    head: "Now",
    cell: (one) => (
      <span className="line-clamp-2 max-w-72 text-xs text-muted-foreground">{one.failure ?? (one.state === "running" ? one.why : "")}</span>
    ),
  },
  { key: "act", head: "Actions", cell: (one) => <Actions instance={one} /> },
];

export function InstancesPage() {
  useTitle("Instances");
  const { data, error, isLoading, refetch } = useListInstancesQuery({ limit: 200 });
  const [filter, setFilter] = useState("");
  const instances = useMemo(() => data?.data.instances ?? [], [data]);
  const shown = useMemo(
    () => instances.filter((one) => `${one.name} ${one.id} ${one.state} ${gpuOf(one)}`.toLowerCase().includes(filter.toLowerCase())),
    [instances, filter],
  );
  return (
    <div className="grid gap-4">
      <div className="flex flex-wrap items-center justify-between gap-3">
        <h1 className="text-xl font-semibold">Instances</h1>
        <Button asChild>
          <Link to={paths.deploy}>Deploy</Link>
        </Button>
      </div>
      {isLoading ? (
        <Loading label="Loading your instances" />
      ) : error && !data ? (
        <ErrorPanel error={error} retry={() => void refetch()} />
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
          {instances.length > 4 && (
            <Input aria-label="Filter instances" placeholder="Filter by name, state or GPU" value={filter} onChange={(e) => setFilter(e.target.value)} />
          )}
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
