import { lazy, Suspense, useEffect, useState } from "react";
import { Link, useParams } from "react-router";
import {
  useListEventsQuery,
  useListSnapshotsQuery,
  usePinSnapshotMutation,
  useRemoveSnapshotMutation,
  useShowInstanceQuery,
  type InstanceView,
  type SnapshotView,
} from "@/api";
import { isPassing } from "@/api/can";
import { Confirm } from "@/components/confirm";
import { Snippet } from "@/components/copy";
import { StateBadge } from "@/components/state-badge";
import { Empty, ErrorPanel, Freshness, Loading } from "@/components/states";
import { tell } from "@/components/tell";
import { Button } from "@/components/ui/button";
import { Card, CardTitle } from "@/components/ui/card";
import { Actions } from "@/features/instances/actions";
import { NextEvent } from "@/features/instances/next-event";
import { RaceView } from "@/features/instances/race-view";
import { StandbyCard } from "@/features/instances/standby-card";
import { Terminal } from "@/features/instances/terminal";
import { bytes, secondsBetween, span, usdPerHour } from "@/lib/format";
import { paths } from "@/lib/paths";
import { useTitle } from "@/lib/use-title";

// What draws is big and never the first thing looked at.
const Metrics = lazy(async () => ({ default: (await import("@/features/instances/metrics")).Metrics }));

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

function Snapshots({ instance }: { instance: InstanceView }) {
  const { data, error, isLoading } = useListSnapshotsQuery({ instance: instance.id, limit: 50 }, { pollingInterval: 30_000, skipPollingIfUnfocused: true });
  if (isLoading) return <Loading />;
  if (error && !data) return <ErrorPanel error={error} />;
  const snapshots = data?.data.snapshots ?? [];
  if (snapshots.length === 0) return <p className="text-sm text-muted-foreground">None yet. One is taken when it hibernates.</p>;
  return (
    <ul className="grid gap-2 text-sm">
      {snapshots.map((one) => (
        <Snapshot key={one.id} instance={instance.id} one={one} />
      ))}
    </ul>
  );
}

function Snapshot({ instance, one }: { instance: string; one: SnapshotView }) {
  const [pin] = usePinSnapshotMutation();
  const [remove] = useRemoveSnapshotMutation();
  const taken = new Date(one.created_at).toLocaleString();
  const change = () =>
    void tell(
      one.pinned ? "The rules decide about it again" : "It stays until you take the pin out",
      pin({ instance, snapshot: one.id, snapshotPatch: { pinned: !one.pinned } }).unwrap(),
    );
  return (
    <li className="flex flex-wrap items-center justify-between gap-2 border-b pb-2 last:border-0">
      <span>
        <time dateTime={one.created_at}>{taken}</time>
        {one.state !== "verified" && <span className="ml-2 text-warn">{one.state}</span>}
        {one.state === "verified" && <span className={one.newest ? "ml-2 font-medium text-good" : "ml-2 text-muted-foreground"}>{one.kept ?? "goes soon"}</span>}
        <span className="block text-xs text-muted-foreground tabular-nums">
          {one.files} files, {bytes(one.bytes)}; stored {bytes(one.stored_bytes)}
          {one.torn.length > 0 && `; ${one.torn.length} kept changing`}
        </span>
      </span>
      {one.state === "verified" && (
        <span className="flex gap-2">
          <Button size="sm" variant="ghost" onClick={change} aria-label={`${one.pinned ? "Unpin" : "Pin"} the snapshot of ${taken}`}>
            {one.pinned ? "Unpin" : "Pin"}
          </Button>
          {!one.newest && (
            <Confirm
              trigger={
                <Button size="sm" variant="danger" aria-label={`Give up the snapshot of ${taken}`}>
                  Give up
                </Button>
              }
              heading="Give up this snapshot?"
              description={`The files as they were at ${taken} cannot be brought back. What other snapshots need stays.`}
              action="Give it up"
              onConfirm={() => void tell("It is given up", remove({ instance, snapshot: one.id }).unwrap())}
            />
          )}
        </span>
      )}
    </li>
  );
}

function Events({ instance, fast }: { instance: InstanceView; fast: boolean }) {
  const { data, error } = useListEventsQuery(
    { instance: instance.id, limit: 100 },
    { pollingInterval: fast ? 2_000 : 60_000, skipPollingIfUnfocused: true },
  );
  if (error && !data) return <ErrorPanel error={error} />;
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
  const [polling, setPolling] = useState(2_000);
  const { data, error, isLoading, refetch, fulfilledTimeStamp, isError } = useShowInstanceQuery(
    { instance: id },
    { pollingInterval: polling, skipPollingIfUnfocused: true },
  );
  const instance = data?.data;
  const open = instance?.attempts?.some((one) => one.receipt && !one.receipt.confirmed_at) ?? false;
  const fast = instance ? isPassing(instance) || instance.restoring || open || (instance.machine !== null && !instance.machine.ssh_host) : true;
  useEffect(() => setPolling(fast ? 2_000 : 60_000), [fast]);
  useTitle(instance?.name ?? "Instance");
  if (isLoading) return <Loading label="Loading the instance" />;
  if (!instance) {
    return (
      <div className="grid gap-4">
        <ErrorPanel error={error} retry={() => void refetch()} />
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
            <Freshness at={fulfilledTimeStamp} failed={isError} />
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
          <Terminal instance={instance} />
        </Card>
        <Card>
          <CardTitle>GPU, memory, network</CardTitle>
          <Suspense fallback={<Loading />}>
            <Metrics instance={instance} live={machine !== null} />
          </Suspense>
        </Card>
        <Card>
          <CardTitle>Standby</CardTitle>
          <StandbyCard instance={instance} />
        </Card>
        <Card>
          <CardTitle>Snapshots</CardTitle>
          <Snapshots instance={instance} />
        </Card>
        <Card>
          <CardTitle>Events</CardTitle>
          <Events instance={instance} fast={fast} />
        </Card>
      </div>
    </div>
  );
}
