import { lazy, useEffect, useState } from "react";
import { Link, useParams } from "react-router";
import {
  useListEventsQuery,
  useListInstancesQuery,
  useShowInstanceQuery,
  type InstanceView,
} from "@/api";
import { isPassing } from "@/api/can";
import { PACE } from "@/api/hooks";
import { Snippet } from "@/components/copy";
import { Part } from "@/components/part";
import { StateBadge } from "@/components/state-badge";
import { Empty, ErrorPanel, Freshness, Loading } from "@/components/states";
import { Card, CardTitle } from "@/components/ui/card";
import { Actions } from "@/features/instances/actions";
import { NextEvent } from "@/features/instances/next-event";
import { RaceView } from "@/features/instances/race-view";
import { secondsBetween, span, usdPerHour } from "@/lib/format";
import { paths } from "@/lib/paths";
import { useTitle } from "@/lib/use-title";

// Big, or further down than one looks first.
const Metrics = lazy(async () => ({ default: (await import("@/features/instances/metrics")).Metrics }));
const Snapshots = lazy(async () => ({ default: (await import("@/features/instances/snapshots")).Snapshots }));
const StandbyCard = lazy(async () => ({ default: (await import("@/features/instances/standby-card")).StandbyCard }));
const Terminal = lazy(async () => ({ default: (await import("@/features/instances/terminal")).Terminal }));

function Clocks({ instance }: { instance: InstanceView }) {
  const { asked_at, first_answer_at, usable_at, restored_at } = instance.clocks;
  const rows: [string, number | null][] = [
    ["First answer", secondsBetween(asked_at, first_answer_at)],
    ["Usable", secondsBetween(asked_at, usable_at)],
    ["All files back", secondsBetween(asked_at, restored_at)],
  ];
  return (
    <dl className="grid grid-cols-3 gap-2 text-sm">
      {rows.map(([label, seconds]) => (
        <div key={label}>
          <dt className="text-xs text-muted-foreground">{label}</dt>
          <dd className="text-lg font-semibold tabular-nums">{seconds === null ? "–" : span(seconds)}</dd>
        </div>
      ))}
    </dl>
  );
}

function Connection({ instance }: { instance: InstanceView }) {
  const machine = instance.machine;
  if (!machine) return <p className="text-sm text-muted-foreground">No machine now. Wake it to connect.</p>;
  return (
    <div className="grid gap-2">
      {machine.ssh_host && machine.ssh_port ? (
        <Snippet label="SSH command" text={`ssh root@${machine.ssh_host} -p ${machine.ssh_port}`} />
      ) : (
        <p className="text-sm text-muted-foreground">The provider has not told its address yet.</p>
      )}
      <Snippet label="CLI command" text={`dumont ssh ${instance.name}`} />
      <Snippet label="editor configuration" text={`dumont ssh-config ${instance.name} >> ~/.ssh/config`} />
    </div>
  );
}

function Events({ instance, fast }: { instance: InstanceView; fast: boolean }) {
  const { data, error, refetch } = useListEventsQuery(
    { instance: instance.id, limit: 100 },
    { pollingInterval: fast ? PACE.motion : PACE.detail, skipPollingIfUnfocused: true },
  );
  if (error && !data) return <ErrorPanel error={error} retry={refetch} />;
  return (
    <ol className="grid max-h-96 gap-1 overflow-auto text-sm" tabIndex={0} aria-label="Event log">
      {(data?.data.events ?? []).map((event) => (
        <li key={event.id} className="grid gap-x-3 sm:grid-cols-[6.5rem_1fr]">
          <time dateTime={event.at} className="text-xs leading-5 text-muted-foreground tabular-nums">
            {new Date(event.at).toLocaleTimeString()}
          </time>
          <span className="break-words">{event.message}</span>
        </li>
      ))}
    </ol>
  );
}

export function InstancePage() {
  const { id = "" } = useParams();
  const [polling, setPolling] = useState<number>(PACE.rest);
  const { data, error, isLoading, refetch, fulfilledTimeStamp, isError } = useShowInstanceQuery(
    { instance: id },
    { pollingInterval: polling, skipPollingIfUnfocused: true },
  );
  // At rest nothing is asked for: the frame's look at all instances says what has changed since.
  const { listed, listedAt } = useListInstancesQuery(
    { limit: 200 },
    { selectFromResult: (all) => ({ listed: all.data?.data.instances.find((one) => one.id === id), listedAt: all.fulfilledTimeStamp ?? 0 }) },
  );
  const full = data?.data;
  const instance = full && listed && listedAt > (fulfilledTimeStamp ?? 0) ? { ...full, ...listed, attempts: full.attempts } : full;
  const open = instance?.attempts?.some((one) => one.receipt && !one.receipt.confirmed_at) ?? false;
  const fast = instance !== undefined && (isPassing(instance) || instance.restoring || open || (instance.machine !== null && !instance.machine.ssh_host));
  const moved = full !== undefined && instance !== undefined && instance.entered_at !== full.entered_at;
  useEffect(() => {
    if (moved) void refetch();
  }, [moved, refetch]);
  const unlisted = listed === undefined;
  useEffect(() => setPolling(fast ? (isError ? PACE.failing : PACE.motion) : unlisted ? PACE.rest : 0), [fast, unlisted, isError]);
  useTitle(instance?.name ?? "Instance");
  if (isLoading) return <Loading label="Loading the instance" />;
  if (!instance) {
    return (
      <div className="grid gap-4">
        <ErrorPanel error={error} retry={refetch} />
        <Link className="text-sm underline" to={paths.instances}>
          Back to your instances
        </Link>
      </div>
    );
  }
  const machine = instance.machine;
  return (
    <div className="grid gap-4">
      <nav aria-label="Breadcrumb" className="text-sm text-muted-foreground">
        <Link className="underline-offset-4 hover:underline" to={paths.instances}>
          Instances
        </Link>{" "}
        / {instance.name}
      </nav>
      <div className="flex flex-wrap items-center justify-between gap-3">
        <h1 className="flex items-center gap-3 text-xl font-semibold">
          {instance.name} <StateBadge state={instance.state} />
        </h1>
        <Actions instance={instance} all />
      </div>
      <div className="grid gap-4 lg:grid-cols-2">
        <Card>
          <CardTitle>Now</CardTitle>
          <div className="grid gap-4 text-sm">
            <NextEvent instance={instance} />
            <Clocks instance={instance} />
            <p>
              {machine
                ? `${machine.gpu_count}× ${machine.gpu_name} at ${machine.provider}, host ${machine.host_id.slice(0, 18)}${machine.region ? `, ${machine.region}` : ""}, ${usdPerHour(machine.usd_per_hour)}`
                : "No machine is paid for."}
            </p>
            <Freshness at={Math.max(fulfilledTimeStamp ?? 0, listedAt)} failed={isError} />
          </div>
        </Card>
        <Card>
          <CardTitle>Connect</CardTitle>
          <Connection instance={instance} />
        </Card>
        <Card>
          <CardTitle>Race</CardTitle>
          {(instance.attempts ?? []).length > 0 ? <RaceView instance={instance} /> : <Empty title="No machine was asked for yet" />}
        </Card>
        <Card>
          <CardTitle>Terminal</CardTitle>
          <Part>
            <Terminal instance={instance} />
          </Part>
        </Card>
        <Card>
          <CardTitle>GPU, memory, network</CardTitle>
          <Part>
            <Metrics instance={instance} live={machine !== null} />
          </Part>
        </Card>
        <Card>
          <CardTitle>Standby</CardTitle>
          <Part>
            <StandbyCard instance={instance} />
          </Part>
        </Card>
        <Card>
          <CardTitle>Snapshots</CardTitle>
          <Part>
            <Snapshots instance={instance} />
          </Part>
        </Card>
        <Card>
          <CardTitle>Events</CardTitle>
          <Events instance={instance} fast={fast && !isError} />
        </Card>
      </div>
    </div>
  );
}
