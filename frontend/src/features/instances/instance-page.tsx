import { lazy, useEffect, useRef, useState, type ReactNode } from "react";
import { Link, useParams } from "react-router";
import { useListEventsQuery, useListInstancesQuery, useShowInstanceQuery, type InstanceView } from "@/api";
import { can, isPassing } from "@/api/can";
import { PACE, useAsking } from "@/api/hooks";
import { Snippet } from "@/components/copy";
import { Part } from "@/components/part";
import { Stat, Stats } from "@/components/stat";
import { StateBadge } from "@/components/state-badge";
import { ErrorPanel, Freshness, Loading } from "@/components/states";
import { Button } from "@/components/ui/button";
import { Card, CardTitle } from "@/components/ui/card";
import { Since, When } from "@/components/when";
import { Actions } from "@/features/instances/actions";
import { alwaysOn, CostAndBudget, useCost } from "@/features/instances/cost";
import { NextEvent } from "@/features/instances/next-event";
import { RaceView, useReplay } from "@/features/instances/race-view";
import { count, percent, secondsBetween, span, usd, usdPerHour } from "@/lib/format";
import { paths } from "@/lib/paths";
import { useHash } from "@/lib/use-hash";
import { useTitle } from "@/lib/use-title";

// Big, or further down than one looks first.
const Metrics = lazy(async () => ({ default: (await import("@/features/instances/metrics")).Metrics }));
const Snapshots = lazy(async () => ({ default: (await import("@/features/instances/snapshots")).Snapshots }));
const StandbyCard = lazy(async () => ({ default: (await import("@/features/instances/standby-card")).StandbyCard }));
const Terminal = lazy(async () => ({ default: (await import("@/features/instances/terminal")).Terminal }));

/** The last start on one line: when it first answered, could be used, had every file. */
function Clocks({ instance }: { instance: InstanceView }) {
  const { asked_at, first_answer_at, usable_at, restored_at } = instance.clocks;
  const rows = (
    [
      ["First answer", secondsBetween(asked_at, first_answer_at), "bg-info/70"],
      ["Usable", secondsBetween(asked_at, usable_at), "bg-primary"],
      ["All files back", secondsBetween(asked_at, restored_at), "bg-good"],
    ] as const
  ).map(([label, seconds, colour]) => ({ label, seconds, colour }));
  const all = Math.max(...rows.map((one) => one.seconds ?? 0), 0.001);
  return (
    <div className="grid gap-2">
      <span aria-hidden className="relative h-1.5 rounded-full bg-muted">
        {[...rows].reverse().map(
          (one) => one.seconds !== null && <span key={one.label} className={`absolute inset-y-0 left-0 rounded-full ${one.colour}`} style={{ width: `${(one.seconds / all) * 100}%` }} />,
        )}
      </span>
      <dl className="grid grid-cols-3 gap-2 text-sm" aria-label="The last start">
        {rows.map((one) => (
          <div key={one.label}>
            <dt className="flex items-center gap-1.5 text-xs text-muted-foreground">
              <span aria-hidden className={`size-2 rounded-full ${one.colour}`} />
              {one.label}
            </dt>
            <dd className="font-semibold tabular-nums">{one.seconds === null ? "–" : span(one.seconds)}</dd>
          </div>
        ))}
      </dl>
    </div>
  );
}

const WAYS = ["SSH", "Editor", "Notebook", "Files"] as const;

function Connection({ instance }: { instance: InstanceView }) {
  const [way, setWay] = useState<(typeof WAYS)[number]>("SSH");
  const { machine, name } = instance;
  if (!machine) {
    return <p className="text-sm text-muted-foreground">{can("wake", instance) ? "No machine now. Wake it to connect." : "No machine now. How to connect is told once there is one."}</p>;
  }
  const open = Object.entries(machine.ports).filter(([inside]) => inside !== "22");
  return (
    <div className="grid gap-3">
      <div role="group" aria-label="How to connect" className="flex flex-wrap gap-1">
        {WAYS.map((one) => (
          <Button key={one} size="xs" variant={one === way ? "outline" : "ghost"} aria-pressed={one === way} onClick={() => setWay(one)}>
            {one}
          </Button>
        ))}
      </div>
      {way === "SSH" && (
        <>
          {machine.ssh_host && machine.ssh_port ? (
            <Snippet label="SSH command" text={`ssh root@${machine.ssh_host} -p ${machine.ssh_port}`} />
          ) : (
            <p className="text-sm text-muted-foreground">The provider has not told its address yet.</p>
          )}
          <Snippet label="CLI command" text={`dumont ssh ${name}`} />
        </>
      )}
      {way === "Editor" && (
        <>
          <Snippet label="editor configuration" text={`dumont ssh-config ${name} >> ~/.ssh/config`} />
          <Snippet label="VS Code command" text={`code --remote ssh-remote+${name} /workspace`} />
        </>
      )}
      {way === "Notebook" && (
        <>
          <Snippet label="command that starts Jupyter" text={`dumont exec ${name} -- bash -c 'nohup jupyter lab --no-browser --allow-root --port 8888 >/tmp/jupyter.log 2>&1 &'`} />
          {machine.ssh_host && machine.ssh_port && (
            <Snippet label="command that opens its port here" text={`ssh -N -L 8888:localhost:8888 root@${machine.ssh_host} -p ${machine.ssh_port}`} />
          )}
        </>
      )}
      {way === "Files" && (
        <>
          <Snippet label="command that copies there" text={`dumont cp ./data ${name}:data`} />
          <Snippet label="command that copies here" text={`dumont cp ${name}:results ./results`} />
        </>
      )}
      {open.length > 0 && (
        <p className="text-xs text-muted-foreground">
          Open ports: {open.map(([inside, outside]) => `${inside} at ${machine.ssh_host ?? "its host"}:${outside}`).join(", ")}
        </p>
      )}
    </div>
  );
}

/** What of an instance, once it is another, has left something in its log. */
const markOf = (one: InstanceView): string =>
  JSON.stringify([one.entered_at, one.restoring, one.snapshot_id, one.drill, one.attempts?.map((it) => [it.created_at, it.adopted_at, it.receipt])]);

function Events({ instance }: { instance: InstanceView }) {
  const [limit, setLimit] = useState(50);
  const { data, error, refetch } = useListEventsQuery({ instance: instance.id, limit }, { pollingInterval: PACE.detail, skipPollingIfUnfocused: true });
  // The page looks at the instance as often as need be: its log is asked for when that has found something new.
  const mark = markOf(instance);
  const known = useRef(mark);
  useEffect(() => {
    if (known.current === mark) return;
    known.current = mark;
    void refetch();
  }, [mark, refetch]);
  if (error && !data) return <ErrorPanel error={error} retry={refetch} />;
  return (
    <div className="grid gap-2">
      <ol className="grid max-h-96 content-start gap-1.5 overflow-auto text-sm" tabIndex={0} aria-label="Event log">
        {(data?.data.events ?? []).map((event) => (
          <li key={event.id} className="grid gap-x-3 sm:grid-cols-[7rem_1fr]">
            <When at={event.at} className="text-xs leading-5 text-muted-foreground tabular-nums" />
            <span className="break-words">{event.message}</span>
          </li>
        ))}
      </ol>
      {data?.data.next_cursor && limit < 500 && (
        <Button size="sm" variant="ghost" className="justify-self-start" onClick={() => setLimit(500)}>
          Older ones
        </Button>
      )}
    </div>
  );
}

function Summary({ instance }: { instance: InstanceView }) {
  const usage = useCost(instance);
  const { machine } = instance;
  const saved = usage ? Number(usage.savings.asleep_usd) : 0;
  // Until it is proven gone, a machine that races or has lost is paid for as well.
  const racing = (instance.attempts ?? []).filter((one) => one.adopted_at === null && !one.receipt?.confirmed_at && one.gpu_count > 0);
  const rate = [...(machine ? [machine] : []), ...racing].reduce((sum, one) => sum + Number(one.usd_per_hour), 0);
  return (
    <Stats>
      <Stat
        label={machine ? "Machine" : racing.length > 0 ? "Wanted" : "No machine"}
        value={machine ? `${machine.gpu_count}× ${machine.gpu_name}` : `${instance.need.gpu_count}× ${instance.need.gpu_name ?? "any GPU"}`}
      >
        {machine
          ? `${machine.provider} host ${machine.host_id.slice(0, 18)}${machine.region ? `, ${machine.region}` : ""}`
          : racing.length > 0
            ? `${count(racing.length, "machine")} asked for`
            : isPassing(instance)
              ? "None is asked for at this moment."
              : "No machine is paid for."}
      </Stat>
      <Stat label="Rate now" value={usdPerHour(rate)}>
        {instance.strategy.replaceAll("_", " ")}
        {instance.need.interruptible ? ", interruptible" : ""}
      </Stat>
      <Stat label="Cost so far" value={usage ? usd(usage.total_usd) : "–"}>
        {usage && `${usd(alwaysOn(usage))} had it never slept`}
      </Stat>
      <Stat label="Saved by sleeping" value={usage ? usd(saved) : "–"} tone={saved > 0 ? "good" : undefined}>
        {usage && saved > 0 ? `${percent(saved / alwaysOn(usage))} of always on` : <>in this state for <Since at={instance.entered_at} /></>}
      </Stat>
    </Stats>
  );
}

/** While its content is on the way it is about as tall as that will be, so that what stands below stays. */
function Section({ id, title, tall = "h-24", children }: { id: string; title: string; tall?: string; children: ReactNode }) {
  return (
    <Card id={id} className="scroll-mt-16">
      <CardTitle>{title}</CardTitle>
      <Part
        waiting={
          <div className={tall}>
            <Loading />
          </div>
        }
      >
        {children}
      </Part>
    </Card>
  );
}

function Found({ instance }: { instance: InstanceView }) {
  const [replay, setReplay] = useReplay();
  const usage = useCost(instance);
  useHash();
  const race = (
    <Section id="race" title="Race">
      <RaceView instance={instance} replay={replay} onReplay={setReplay} />
    </Section>
  );
  const begun = instance.machine !== null || instance.clocks.restored_at !== null;
  return (
    <div className="grid items-start gap-4 lg:grid-cols-[minmax(0,3fr)_minmax(0,2fr)]">
      <div className="grid gap-4">
        {!begun && race}
        <Section id="gpu" title="GPU, memory, network" tall="h-[26rem]">
          <Metrics instance={instance} live={instance.machine !== null} />
        </Section>
        <Section id="terminal" title="Terminal" tall="h-80">
          <Terminal instance={instance} />
        </Section>
        {begun && race}
        <Section id="events" title="Events">
          <Events instance={instance} />
        </Section>
      </div>
      <div className="grid gap-4">
        <Section id="connect" title="Connect">
          <Connection instance={instance} />
        </Section>
        <Section id="snapshots" title="Snapshots">
          <Snapshots instance={instance} />
        </Section>
        <Section id="standby" title="Standby" tall="h-64">
          <StandbyCard instance={instance} />
        </Section>
        <Section id="cost" title="Cost and budget">
          <CostAndBudget instance={instance} usage={usage} />
        </Section>
      </div>
    </div>
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
  const drilling = instance?.drill != null && instance.drill.gone_at === null;
  const asking = useAsking();
  const fast =
    instance !== undefined && (asking || isPassing(instance) || instance.restoring || open || drilling || (instance.machine !== null && !instance.machine.ssh_host));
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
  return (
    <div className="grid gap-4">
      <div className="flex flex-wrap items-end justify-between gap-3">
        <div className="grid min-w-0 gap-1">
          <nav aria-label="Breadcrumb" className="text-xs text-muted-foreground">
            <Link className="underline-offset-4 hover:underline" to={paths.instances}>
              Instances
            </Link>{" "}
            / {instance.name}
          </nav>
          <h1 className="flex flex-wrap items-center gap-x-3 gap-y-1 text-xl font-semibold tracking-tight">
            <span className="min-w-0 break-words">{instance.name}</span> <StateBadge state={instance.state} />
          </h1>
        </div>
        <Actions instance={instance} all />
      </div>
      <Summary instance={instance} />
      <Card className="grid gap-4 text-sm sm:grid-cols-2 lg:gap-8">
        <div className="grid content-start gap-1">
          <NextEvent instance={instance} />
          <Freshness at={Math.max(fulfilledTimeStamp ?? 0, listedAt)} failed={isError} />
        </div>
        <Clocks instance={instance} />
      </Card>
      <Found instance={instance} />
    </div>
  );
}
