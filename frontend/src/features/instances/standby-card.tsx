import { useState } from "react";
import {
  useDeleteStandbyMutation,
  useFailOverMutation,
  useListStandbysQuery,
  usePutStandbyMutation,
  type InstanceView,
  type StandbyView,
} from "@/api";
import { whyNot } from "@/api/can";
import { Confirm } from "@/components/confirm";
import { tell } from "@/components/tell";
import { Button } from "@/components/ui/button";
import { Check, Field, Input, Select } from "@/components/ui/field";
import { bytes, span, usd, usdPerHour } from "@/lib/format";

const PHASES: Record<string, string> = {
  making: "is being made",
  filling: "takes the first snapshot in",
  following: "holds the newest snapshot",
  behind: "is behind",
  serving: "serves the files now",
  off: "rests with the instance",
};

function Pair({ standby }: { standby: StandbyView }) {
  const serving = standby.phase === "serving";
  return (
    <div className="flex items-center gap-2 text-sm" role="img" aria-label={`GPU ${serving ? "lost" : "works"}; standby ${PHASES[standby.phase]}`}>
      <span className={`rounded-md border px-3 py-2 ${serving ? "border-bad/50 text-bad line-through" : "border-good/50"}`}>GPU machine</span>
      <span aria-hidden className="min-w-8 flex-1 border-t border-dashed" />
      <span className={`rounded-md border px-3 py-2 ${serving || standby.phase === "following" ? "border-good/50" : "border-warn/50"}`}>
        {standby.machine_type}
        <span className="block text-xs text-muted-foreground">{standby.zone}</span>
      </span>
    </div>
  );
}

function Add({ instance }: { instance: InstanceView }) {
  const [put, { isLoading }] = usePutStandbyMutation();
  const [type, setType] = useState("e2-small");
  const [every, setEvery] = useState(30);
  const [spot, setSpot] = useState(true);
  const [seen, setSeen] = useState<StandbyView | null>(null);
  const body = { instance: instance.id, machine_type: type, interval_s: every, spot };
  const reason = whyNot("fail_over", instance);
  return (
    <div className="grid gap-3">
      <p className="text-sm text-muted-foreground">
        A small CPU machine on Compute Engine that takes every snapshot in. When the GPU’s host dies, it serves your files within seconds
        while another GPU is found.
      </p>
      <div className="flex flex-wrap items-end gap-3">
        <Field label="Machine">
          <Select value={type} onChange={(e) => { setType(e.target.value); setSeen(null); }}>
            {["e2-micro", "e2-small", "e2-medium", "e2-standard-2"].map((name) => (
              <option key={name}>{name}</option>
            ))}
          </Select>
        </Field>
        <Field label="Seconds that may be lost">
          <Input type="number" min={2} max={3600} value={every} onChange={(e) => { setEvery(Math.max(2, Number(e.target.value) || 30)); setSeen(null); }} />
        </Field>
        <Check label="Spot: cheaper, remade when taken away" checked={spot} onChange={(e) => { setSpot(e.target.checked); setSeen(null); }} />
      </div>
      {seen && (
        <p role="status" className="text-sm">
          {seen.machine_type} in {seen.zone} with {seen.disk_gib} GiB: <strong>{usd(seen.usd_per_month)} a month</strong> ({usdPerHour(seen.usd_per_hour)}).
        </p>
      )}
      <div className="flex gap-2">
        {seen ? (
          <Button size="sm" disabled={isLoading} onClick={() => void tell("A standby is being made", put({ standbyBody: body }).unwrap())}>
            Make it
          </Button>
        ) : (
          <Button
            size="sm"
            variant="outline"
            disabled={isLoading}
            disabledReason={reason}
            onClick={() => void tell("Nothing is made yet", put({ standbyBody: { ...body, preview: true } }).unwrap().then(({ data }) => setSeen(data)))}
          >
            What would it cost?
          </Button>
        )}
      </div>
    </div>
  );
}

export function StandbyCard({ instance }: { instance: InstanceView }) {
  const { data } = useListStandbysQuery(undefined, { pollingInterval: 15_000, skipPollingIfUnfocused: true, skip: !instance.has_standby });
  const [remove] = useDeleteStandbyMutation();
  const [failOver] = useFailOverMutation();
  const standby = instance.has_standby ? data?.data.standbys.find((one) => one.instance_id === instance.id) : undefined;
  const { failover } = instance;
  return (
    <div className="grid gap-3">
      {instance.has_standby ? (
        standby && (
          <>
            <Pair standby={standby} />
            <p className="text-sm">
              The standby {PHASES[standby.phase]}
              {standby.lag_s ? ` by ${span(standby.lag_s)}, ${bytes(standby.lag_bytes ?? 0)}` : ""}. {usd(standby.usd_per_month)} a month.
            </p>
            <div className="flex flex-wrap gap-2">
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
            </div>
          </>
        )
      ) : (
        <Add instance={instance} />
      )}
      {failover && (
        <dl className="grid grid-cols-3 gap-2 border-t pt-3 text-sm" aria-label="Last failover, measured">
          {(
            [
              ["At most lost", failover.rpo_s],
              ["Files served after", failover.rto_s],
              ["GPU back after", failover.gpu_back_s],
            ] as const
          ).map(([label, seconds]) => (
            <div key={label}>
              <dt className="text-xs text-muted-foreground">{label}</dt>
              <dd className="font-semibold tabular-nums">{seconds === null ? "–" : span(seconds)}</dd>
            </div>
          ))}
        </dl>
      )}
    </div>
  );
}
