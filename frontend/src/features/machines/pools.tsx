import { useState, type FormEvent } from "react";
import { Link } from "react-router";
import { useDeletePoolMutation, useListPoolsQuery, usePutPoolMutation, type PoolView } from "@/api";
import { PACE } from "@/api/hooks";
import { Confirm } from "@/components/confirm";
import { ErrorPanel, Loading } from "@/components/states";
import { StateBadge } from "@/components/state-badge";
import { tell } from "@/components/tell";
import { Button } from "@/components/ui/button";
import { Field, Input } from "@/components/ui/field";
import { usdPerHour } from "@/lib/format";
import { paths } from "@/lib/paths";

function Pool({ pool }: { pool: PoolView }) {
  const [remove] = useDeletePoolMutation();
  return (
    <li className="grid gap-2 rounded-md border p-3 text-sm">
      <div className="flex flex-wrap items-center justify-between gap-2">
        <span>
          <strong>{pool.name}</strong> · {pool.gpu_count}× {pool.gpu_name ?? "any GPU"} · {pool.ready} of {pool.target} warm ·{" "}
          <span className="tabular-nums">{usdPerHour(pool.usd_per_hour)}</span>
        </span>
        <Confirm
          trigger={
            <Button size="sm" variant="danger">
              Delete
            </Button>
          }
          heading={`Delete pool ${pool.name}?`}
          description="Its warm machines are ended. Instances that already took one keep it."
          action="Delete it"
          onConfirm={() => void tell(`Pool ${pool.name} is deleted`, remove({ pool: pool.name }).unwrap())}
        />
      </div>
      <div className="flex flex-wrap gap-2">
        {pool.seats.map((seat) => (
          <Link key={seat.instance_id} to={paths.instance(seat.instance_id)} className="flex items-center gap-2 text-xs">
            {seat.instance_id} <StateBadge state={seat.state} />
          </Link>
        ))}
      </div>
    </li>
  );
}

export function Pools() {
  const { data, error, isLoading, refetch } = useListPoolsQuery(undefined, { pollingInterval: PACE.detail, skipPollingIfUnfocused: true });
  const [put, { isLoading: saving }] = usePutPoolMutation();
  const [name, setName] = useState("");
  const [gpu, setGpu] = useState("RTX 4090");
  const [target, setTarget] = useState(1);
  const add = async (event: FormEvent) => {
    event.preventDefault();
    if (await tell(`Pool ${name} is kept warm`, put({ pool: name, poolBody: { gpu_name: gpu || null, target } }).unwrap())) setName("");
  };
  return (
    <>
      {isLoading ? (
        <Loading />
      ) : error && !data ? (
        <ErrorPanel error={error} retry={refetch} />
      ) : (
        <ul className="mb-3 grid gap-2">
          {(data?.data.pools ?? []).map((pool) => (
            <Pool key={pool.name} pool={pool} />
          ))}
        </ul>
      )}
      <form onSubmit={add} className="flex flex-wrap items-end gap-3" aria-label="New pool">
        <Field label="Name">
          <Input required pattern="[a-z0-9]([a-z0-9\-]{0,61}[a-z0-9])?" value={name} onChange={(e) => setName(e.target.value)} />
        </Field>
        <Field label="GPU">
          <Input value={gpu} onChange={(e) => setGpu(e.target.value)} />
        </Field>
        <Field label="Machines">
          <Input type="number" min={1} max={20} value={target} onChange={(e) => setTarget(Number(e.target.value) || 1)} />
        </Field>
        <Button type="submit" variant="outline" disabled={saving}>
          Keep warm
        </Button>
      </form>
    </>
  );
}
