import { Link, useSearchParams } from "react-router";
import { useListInstancesQuery, useShowUsageQuery } from "@/api";
import { PageHead } from "@/components/page";
import { StateBadge } from "@/components/state-badge";
import { Empty, ErrorPanel, Loading } from "@/components/states";
import { Button } from "@/components/ui/button";
import { Card } from "@/components/ui/card";
import { Snapshots } from "@/features/instances/snapshots";
import { cn } from "@/lib/cn";
import { bytes, usd } from "@/lib/format";
import { paths } from "@/lib/paths";
import { useTitle } from "@/lib/use-title";

export function SnapshotsPage() {
  useTitle("Snapshots");
  const { data, error, isLoading, refetch } = useListInstancesQuery({ limit: 200 });
  const usage = useShowUsageQuery({}).data?.data;
  const kept = usage && [usage.storage, ...usage.own_storage];
  const [query, setQuery] = useSearchParams();
  const instances = data?.data.instances ?? [];
  const chosen = instances.find((one) => one.id === query.get("instance")) ?? instances.find((one) => one.snapshot_id !== null) ?? instances[0];
  return (
    <div className="grid gap-4">
      <PageHead title="Snapshots" words="Every file of an instance, encrypted on its machine, in your bucket. Only what is new is stored again." />
      {kept && (
        <p className="text-sm">
          <strong className="tabular-nums">{bytes(kept.reduce((sum, one) => sum + one.bytes, 0))}</strong> stored in all;{" "}
          {usd(kept.reduce((sum, one) => sum + Number(one.usd_per_gb_month) * (one.bytes / 1e9), 0))} a month at list prices.
        </p>
      )}
      {isLoading ? (
        <Loading label="Loading your instances" />
      ) : !data ? (
        <ErrorPanel error={error} retry={refetch} />
      ) : !chosen ? (
        <Empty title="No instances, so no snapshots">
          <p>An instance is saved whenever it hibernates, and as often as you like in between.</p>
          <Button asChild>
            <Link to={paths.deploy}>Deploy one</Link>
          </Button>
        </Empty>
      ) : (
        <div className="grid items-start gap-4 md:grid-cols-[16rem_1fr]">
          <ul className="flex content-start gap-1 overflow-x-auto md:grid" aria-label="Whose snapshots">
            {instances.map((one) => (
              <li key={one.id} className="shrink-0">
                <button
                  type="button"
                  aria-pressed={one.id === chosen.id}
                  onClick={() => setQuery({ instance: one.id }, { replace: true })}
                  className={cn(
                    "flex min-h-9 w-full items-center justify-between gap-3 rounded-md border px-3 text-left text-sm",
                    one.id === chosen.id ? "border-primary bg-muted font-medium" : "border-transparent hover:bg-muted",
                  )}
                >
                  <span className="truncate">{one.name}</span> <StateBadge state={one.state} />
                </button>
              </li>
            ))}
          </ul>
          <Card>
            <Snapshots key={chosen.id} instance={chosen} all />
          </Card>
        </div>
      )}
    </div>
  );
}
