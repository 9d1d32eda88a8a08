/** An instance's standby: the pair, how far behind it is, what a failover measured, and trying one out. */
import { useState } from "react";
import {
  useDeleteStandbyMutation,
  useFailOverMutation,
  useListStandbysQuery,
  usePutStandbyMutation,
  type DrillView,
  type FailoverView,
  type InstanceView,
  type StandbyView,
} from "@/api";
import { whyNot } from "@/api/can";
import { PACE } from "@/api/hooks";
import { Confirm } from "@/components/confirm";
import { ErrorPanel, Loading } from "@/components/states";
import { tell } from "@/components/tell";
import { Button } from "@/components/ui/button";
import { Check, Field, Input, Select } from "@/components/ui/field";
import { Since, When } from "@/components/when";
import { sharesOf, stepsOf } from "@/features/instances/failover";
import { bytes, span, usd, usdPerHour } from "@/lib/format";

const PHASES: Record<string, string> = {
  making: "is being made",
  filling: "takes the first snapshot in",
  following: "holds the newest snapshot",
  behind: "is behind",
  serving: "serves the files now",
  off: "rests with the instance",
};

export function Pair({ instance, standby }: { instance: InstanceView; standby: StandbyView }) {
  const serving = standby.phase === "serving";
  const good = standby.phase === "following";
  const lag = standby.lag_s === null ? "nothing held yet" : standby.lag_s === 0 ? "in step" : `${span(standby.lag_s)}, ${bytes(standby.lag_bytes ?? 0)} behind`;
  const { machine } = instance;
  return (
    <div
      className="grid grid-cols-[1fr_auto_1fr] items-center gap-2 text-sm"
      role="img"
      aria-label={`GPU ${serving ? "lost" : machine ? "works" : "asleep"}; standby ${PHASES[standby.phase]}; ${lag}`}
    >
      <span className={`min-w-0 rounded-md border px-2 py-2 sm:px-3 ${serving ? "border-bad/50 text-bad" : machine ? "border-good/50" : "border-dashed"}`}>
        <span className="block truncate font-medium">{machine ? `${machine.gpu_count}× ${machine.gpu_name}` : serving ? "GPU lost" : "No GPU now"}</span>
        <span className="block truncate text-xs text-muted-foreground">{machine ? `${machine.provider}, ${machine.region || "region not told"}` : "asleep"}</span>
      </span>
      <span className="grid justify-items-center text-xs text-muted-foreground">
        <span>every {span(standby.interval_s)}</span>
        <span aria-hidden className={`my-0.5 w-10 border-t-2 sm:w-24 ${good ? "border-good/60" : "border-dashed"}`} />
        <span className={good ? "text-good" : serving ? "" : "text-warn"}>{lag}</span>
      </span>
      <span className={`min-w-0 rounded-md border px-2 py-2 sm:px-3 ${serving || good ? "border-good/50" : "border-warn/50"}`}>
        <span className="block truncate font-medium">
          {standby.machine_type}
          {standby.spot && " spot"}
        </span>
        <span className="block truncate text-xs text-muted-foreground">{standby.zone}</span>
      </span>
    </div>
  );
}

/** What was lost and how long it took, and when each step was. */
export function Measured({ failover, label }: { failover: FailoverView; label: string }) {
  const steps = stepsOf(failover);
  const shares = sharesOf(steps);
  return (
    <div className="grid gap-2">
      <dl className="grid grid-cols-3 gap-2 text-sm" aria-label={label}>
        {(
          [
            ["At most lost", "RPO", failover.rpo_s],
            ["Files served after", "RTO", failover.rto_s],
            ["GPU back after", "", failover.gpu_back_s],
          ] as const
        ).map(([words, short, seconds]) => (
          <div key={words}>
            <dt className="text-xs text-muted-foreground">
              {words}
              {short && ` (${short})`}
            </dt>
            <dd className="text-base font-semibold tabular-nums">{seconds === null ? "–" : span(seconds)}</dd>
          </div>
        ))}
      </dl>
      <div aria-hidden className="relative h-2 rounded-full bg-muted">
        {shares.slice(1).map((share, place) => (
          <span
            key={steps[place + 1]!.words}
            className={`absolute inset-y-0 ${["bg-bad/70", "bg-warn/70", "bg-info/70", "bg-good/70"][place]} first:rounded-l-full last:rounded-r-full`}
            style={{ left: `${shares[place]! * 100}%`, width: `${(share - shares[place]!) * 100}%` }}
          />
        ))}
      </div>
      <ol className="grid gap-0.5 text-xs">
        {steps.map((one) => (
          <li key={one.words} className="flex justify-between gap-3">
            <span className="text-muted-foreground">{one.words}</span>
            <span className="whitespace-nowrap tabular-nums">{one.afterS === 0 ? <When at={one.at} /> : `+${span(one.afterS)}`}</span>
          </li>
        ))}
      </ol>
    </div>
  );
}

export const drilling = (drill: DrillView | null | undefined): boolean => drill !== null && drill !== undefined && drill.gone_at === null;

export function Drill({ drill }: { drill: DrillView }) {
  return (
    <section className="grid gap-2 border-t pt-3" aria-label="Drill">
      <p className="flex flex-wrap justify-between gap-2 text-sm">
        <strong>Newest drill{!drill.with_standby && ", without a standby"}</strong>
        <span className="text-muted-foreground">
          <When at={drill.begun_at} />
        </span>
      </p>
      {drilling(drill) && (
        <p role="status" className="text-sm text-info">
          {drill.ended_at ? "Measured; its copy is being destroyed" : "Under way on a copy"}, since <Since at={drill.begun_at} />.
        </p>
      )}
      {drill.failure && <p className="text-sm text-bad">{drill.failure}</p>}
      {drill.failover && <Measured failover={drill.failover} label="Drill, measured" />}
      {drill.gone_at && <p className="text-xs text-muted-foreground">The copy and its machines are proven gone.</p>}
    </section>
  );
}

export function DrillButton({ instance }: { instance: InstanceView }) {
  const [failOver, { isLoading }] = useFailOverMutation();
  return (
    <Confirm
      trigger={
        <Button
          size="sm"
          variant="outline"
          disabled={isLoading}
          disabledReason={
            whyNot("fail_over", instance) ??
            (instance.snapshot_id === null ? "Nothing is saved yet; take a snapshot first." : drilling(instance.drill) ? "A drill is under way." : null)
          }
        >
          Run a drill
        </Button>
      }
      heading="Try a failover out?"
      description={`A copy of ${instance.name} loses its machine, and what happens is measured. ${instance.name} itself goes on and is not touched. The copy’s machines cost cents and are ended when it is over.`}
      action="Run the drill"
      onConfirm={() =>
        void tell("The drill has begun", failOver({ wait: 0, failoverBody: { instance: instance.id, drill: true, why: "a drill from the console" } }).unwrap())
      }
    />
  );
}

function Add({ instance }: { instance: InstanceView }) {
  const [put, { isLoading }] = usePutStandbyMutation();
  const [type, setType] = useState("e2-small");
  const [every, setEvery] = useState(30);
  const [spot, setSpot] = useState(true);
  const [seen, setSeen] = useState<StandbyView | null>(null);
  const body = { instance: instance.id, machine_type: type, interval_s: every, spot };
  const set = (change: () => void) => {
    change();
    setSeen(null);
  };
  return (
    <div className="grid gap-3">
      <p className="text-sm text-muted-foreground">
        A small CPU machine on Compute Engine that takes every snapshot in. When the GPU’s host dies, it serves your files within seconds
        while another GPU is found.
      </p>
      <div className="grid gap-3 sm:grid-cols-2">
        <Field label="Machine">
          <Select value={type} onChange={(e) => set(() => setType(e.target.value))}>
            {["e2-micro", "e2-small", "e2-medium", "e2-standard-2"].map((name) => (
              <option key={name}>{name}</option>
            ))}
          </Select>
        </Field>
        <Field label="Seconds that may be lost">
          <Input type="number" min={2} max={3600} value={every} onChange={(e) => set(() => setEvery(Math.max(2, Number(e.target.value) || 30)))} />
        </Field>
      </div>
      <Check label="Spot: cheaper, remade when taken away" checked={spot} onChange={(e) => set(() => setSpot(e.target.checked))} />
      {seen && (
        <p role="status" className="text-sm">
          {seen.machine_type} in {seen.zone} with {seen.disk_gib} GiB: <strong>{usd(seen.usd_per_month)} a month</strong> ({usdPerHour(seen.usd_per_hour)}).
        </p>
      )}
      {seen ? (
        <Button
          size="sm"
          className="justify-self-start"
          disabled={isLoading}
          onClick={() => void tell("A standby is being made", put({ standbyBody: body }).unwrap())}
        >
          Make it
        </Button>
      ) : (
        <Button
          size="sm"
          variant="outline"
          className="justify-self-start"
          disabled={isLoading}
          disabledReason={whyNot("fail_over", instance)}
          onClick={() =>
            void tell(
              "Nothing is made yet",
              put({ standbyBody: { ...body, preview: true } })
                .unwrap()
                .then(({ data }) => setSeen(data)),
            )
          }
        >
          What would it cost?
        </Button>
      )}
    </div>
  );
}

export function StandbyCard({ instance }: { instance: InstanceView }) {
  const { data, error, isLoading, refetch } = useListStandbysQuery(undefined, { pollingInterval: PACE.detail, skipPollingIfUnfocused: true, skip: !instance.has_standby });
  const [remove] = useDeleteStandbyMutation();
  const [failOver] = useFailOverMutation();
  const standby = instance.has_standby ? data?.data.standbys.find((one) => one.instance_id === instance.id) : undefined;
  const { failover, drill } = instance;
  if (isLoading) return <Loading />;
  if (error && !data) return <ErrorPanel error={error} retry={refetch} />;
  return (
    <div className="grid gap-3">
      {!instance.has_standby && <Add instance={instance} />}
      {standby && (
        <>
          <Pair instance={instance} standby={standby} />
          <p className="text-sm">
            The standby {PHASES[standby.phase]}
            {standby.held_at && standby.phase !== "serving" && (
              <>
                {" "}
                of <When at={standby.held_at} />
              </>
            )}
            . {usdPerHour(standby.usd_per_hour)}, {usd(standby.usd_per_month)} a month.
          </p>
        </>
      )}
      <div className="flex flex-wrap gap-2">
        <DrillButton instance={instance} />
        {standby && (
          <>
            <Confirm
              trigger={
                <Button size="sm" variant="outline" disabledReason={whyNot("fail_over", instance)}>
                  Fail over now
                </Button>
              }
              heading="Give the GPU machine up?"
              description="Its standby takes over at once. What changed since the newest snapshot is lost."
              action="Fail over"
              onConfirm={() => void tell("Failing over", failOver({ wait: 0, failoverBody: { instance: instance.id, why: "asked for in the console" } }).unwrap())}
            />
            <Confirm
              trigger={
                <Button size="sm" variant="danger">
                  Remove
                </Button>
              }
              heading="Remove the standby?"
              description="Its machine ends. Should the GPU’s host die, the instance wakes from its newest snapshot instead."
              action="Remove it"
              onConfirm={() => void tell("The standby is let go", remove({ instance: instance.id }).unwrap())}
            />
          </>
        )}
      </div>
      {failover && (
        <section className="grid gap-2 border-t pt-3" aria-label="Failover">
          <p className="text-sm">
            <strong>Newest failover</strong>
          </p>
          <Measured failover={failover} label="Last failover, measured" />
        </section>
      )}
      {drill && <Drill drill={drill} />}
    </div>
  );
}
