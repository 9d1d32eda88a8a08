import { useEffect, useState } from "react";
import { Link } from "react-router";
import { useListEventsQuery, useListInstancesQuery, useListStandbysQuery, useShowInstanceQuery, type InstanceView } from "@/api";
import { isPassing } from "@/api/can";
import { PACE } from "@/api/hooks";
import { PageHead } from "@/components/page";
import { Stat, Stats } from "@/components/stat";
import { StateBadge } from "@/components/state-badge";
import { Empty, ErrorPanel, Loading } from "@/components/states";
import { Button } from "@/components/ui/button";
import { Card } from "@/components/ui/card";
import { When } from "@/components/when";
import { Modal } from "@/components/modal";
import { Breaker } from "@/features/instances/breaker";
import { drilling, StandbyCard } from "@/features/instances/standby-card";
import { span, usd } from "@/lib/format";
import { paths } from "@/lib/paths";
import { useTitle } from "@/lib/use-title";

/** Kinds of events that a failover, a drill or a standby's life consists of. */
const TOLD = /^(standby|failover|failing_over|on_standby|gpu_found|handing_back|handed_back|drill|suspect)/;

function Timeline({ instance, fast }: { instance: InstanceView; fast: boolean }) {
  const { data, error, isLoading, refetch } = useListEventsQuery({ instance: instance.id, limit: 200 }, { pollingInterval: fast ? PACE.beside : PACE.detail, skipPollingIfUnfocused: true });
  if (isLoading) return <Loading />;
  if (error && !data) return <ErrorPanel error={error} retry={refetch} />;
  const events = (data?.data.events ?? []).filter((one) => TOLD.test(one.kind));
  if (events.length === 0) return <p className="text-sm text-muted-foreground">Nothing has happened to it yet.</p>;
  return (
    <ol className="grid max-h-72 content-start gap-1 overflow-auto border-l pl-3 text-sm" tabIndex={0} aria-label={`What happened to ${instance.name}`}>
      {events.map((one) => (
        <li key={one.id} className="grid gap-x-3 sm:grid-cols-[7rem_1fr]">
          <When at={one.at} className="text-xs leading-5 text-muted-foreground tabular-nums" />
          <span className="break-words">{one.message}</span>
        </li>
      ))}
    </ol>
  );
}

function Guarded({ given }: { given: InstanceView }) {
  const [polling, setPolling] = useState<number>(PACE.detail);
  const { data } = useShowInstanceQuery({ instance: given.id }, { pollingInterval: polling, skipPollingIfUnfocused: true });
  const instance = data?.data ?? given;
  // A drill goes on beside an instance that rests: the list does not know that something moves.
  const fast = isPassing(instance) || instance.state === "on_standby" || drilling(instance.drill);
  useEffect(() => setPolling(fast ? PACE.beside : PACE.detail), [fast]);
  return (
    <Card className="grid gap-4" aria-label={instance.name}>
      <div className="flex flex-wrap items-center justify-between gap-2">
        <h2 className="flex items-center gap-2 text-base font-semibold">
          <Link className="underline-offset-4 hover:underline" to={paths.instance(instance.id)}>
            {instance.name}
          </Link>
          <StateBadge state={instance.state} />
        </h2>
      </div>
      <div className="grid gap-6 lg:grid-cols-2">
        <StandbyCard instance={instance} />
        <Timeline instance={instance} fast={fast} />
      </div>
    </Card>
  );
}

export function StandbyPage() {
  useTitle("Standby");
  const { data, error, isLoading, refetch } = useListInstancesQuery({ limit: 200 });
  const standbys = useListStandbysQuery(undefined, { pollingInterval: PACE.detail, skipPollingIfUnfocused: true }).data?.data.standbys ?? [];
  const instances = data?.data.instances ?? [];
  const guarded = instances.filter((one) => one.has_standby || one.failover !== null || one.drill);
  const others = instances.filter((one) => !guarded.includes(one));
  const measured = instances.flatMap((one) => [one.failover, one.drill?.failover]).filter((one) => one?.rto_s != null);
  const worst = measured.reduce<number | null>((most, one) => Math.max(most ?? 0, one!.rto_s!), null);
  const lost = measured.reduce<number | null>((most, one) => (one!.rpo_s === null ? most : Math.max(most ?? 0, one!.rpo_s)), null);
  const monthly = standbys.reduce((sum, one) => sum + Number(one.usd_per_month), 0);
  return (
    <div className="grid gap-4">
      <PageHead title="Standby" words="A small CPU machine beside a GPU instance holds its newest snapshot, and serves it within seconds when the GPU’s host dies." />
      {isLoading ? (
        <Loading label="Loading your instances" />
      ) : !data ? (
        <ErrorPanel error={error} retry={refetch} />
      ) : instances.length === 0 ? (
        <Empty title="No instances to stand by for">
          <Button asChild>
            <Link to={paths.deploy}>Deploy one</Link>
          </Button>
        </Empty>
      ) : (
        <>
          <Stats>
            <Stat label="In step" value={standbys.length === 0 ? "–" : `${standbys.filter((one) => one.phase === "following").length} of ${standbys.length}`} tone={standbys.some((one) => one.phase === "behind") ? "warn" : undefined}>
              {standbys.length === 0 ? "no standby yet" : "standbys that hold the newest snapshot"}
            </Stat>
            <Stat label="They cost" value={usd(monthly)}>
              a month, while their instances are awake
            </Stat>
            <Stat label="Worst RTO measured" value={worst === null ? "–" : span(worst)}>
              from the loss to files served again
            </Stat>
            <Stat label="Worst RPO measured" value={lost === null ? "–" : span(lost)}>
              {measured.length === 0 ? "run a drill to know" : "age of the snapshot that took over"}
            </Stat>
          </Stats>
          <Breaker />
          {guarded.map((one) => (
            <Guarded key={one.id} given={one} />
          ))}
          {others.length > 0 && (
            <Card className="grid gap-2">
              <h2 className="text-sm font-semibold">Without a standby</h2>
              <ul className="grid gap-2 text-sm">
                {others.map((one) => (
                  <li key={one.id} className="flex items-center justify-between gap-2">
                    <span className="flex min-w-0 flex-wrap items-center gap-x-2">
                      <Link className="underline-offset-4 hover:underline" to={paths.instance(one.id)}>
                        {one.name}
                      </Link>
                      <StateBadge state={one.state} />
                    </span>
                    <Modal
                      trigger={
                        <Button size="sm" variant="outline">
                          Add a standby
                        </Button>
                      }
                      heading={`A standby for ${one.name}`}
                    >
                      {() => <StandbyCard instance={one} />}
                    </Modal>
                  </li>
                ))}
              </ul>
            </Card>
          )}
        </>
      )}
    </div>
  );
}
