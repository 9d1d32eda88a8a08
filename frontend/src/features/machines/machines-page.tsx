import { useState } from "react";
import { Link } from "react-router";
import {
  useBlockMachineMutation,
  useListBlocksQuery,
  useMachineHistoryQuery,
  useOrphansQuery,
  useUnblockMachineMutation,
  type MachineHistoryView,
  type OpenReceiptView,
} from "@/api";
import { PACE } from "@/api/hooks";
import { DataTable, type Column } from "@/components/data-table";
import { Empty, ErrorPanel, Loading } from "@/components/states";
import { tell } from "@/components/tell";
import { Button } from "@/components/ui/button";
import { Card, CardTitle } from "@/components/ui/card";
import { Check, Field, Input } from "@/components/ui/field";
import { Pools } from "@/features/machines/pools";
import { percent, span, usd } from "@/lib/format";
import { paths } from "@/lib/paths";
import { useDebounced } from "@/lib/use-debounced";
import { useTitle } from "@/lib/use-title";

function Block({ machine }: { machine: MachineHistoryView }) {
  const { data } = useListBlocksQuery();
  const [block] = useBlockMachineMutation();
  const [unblock] = useUnblockMachineMutation();
  const mine = data?.data.blocks.find((one) => one.machine === machine.id);
  if (mine) {
    return (
      <Button
        size="sm"
        variant="outline"
        onClick={() => void tell(`Your word on ${machine.id} is taken back`, unblock({ machine: machine.id }).unwrap())}
      >
        {mine.allow ? "Stop allowing" : "Unblock"}
      </Button>
    );
  }
  const allow = machine.blocked;
  return (
    <Button
      size="sm"
      variant="ghost"
      onClick={() =>
        void tell(
          allow ? `${machine.id} may be tried again for you` : `${machine.id} will not be asked for you`,
          block({ machine: machine.id, blockBody: { allow, why: "by hand" } }).unwrap(),
        )
      }
    >
      {allow ? "Allow" : "Block"}
    </Button>
  );
}

const COLUMNS: Column<MachineHistoryView>[] = [
  {
    key: "id",
    head: "Machine",
    sort: (one) => one.id,
    cell: (one) => (
      <span className="grid">
        <span className="break-all">{one.id}</span>
        <span className="text-xs text-muted-foreground">{one.region}</span>
      </span>
    ),
  },
  { key: "gpu", head: "GPU", sort: (one) => one.gpu_name, cell: (one) => one.gpu_name },
  {
    key: "rate",
    head: "Becomes ready",
    right: true,
    // The cautious end of the interval: 3 of 3 must not beat 480 of 500.
    sort: (one) => one.rate_low,
    cell: (one) => (
      <span title="With recent tries weighing more; in brackets the interval it lies in">
        {percent(one.rate)}{" "}
        <span className="text-xs text-muted-foreground">
          ({percent(one.rate_low)}–{percent(one.rate_high)}, n={one.counted})
        </span>
      </span>
    ),
  },
  {
    key: "boot",
    head: "Boot P50 / P95",
    right: true,
    sort: (one) => one.boot_p50_s ?? Infinity,
    cell: (one) => (one.boot_p50_s === null ? "–" : `${span(one.boot_p50_s)} / ${one.boot_p95_s === null ? "–" : span(one.boot_p95_s)}`),
  },
  {
    key: "last",
    head: "Last",
    cell: (one) => (
      <span className="line-clamp-2 max-w-64 text-xs text-muted-foreground">
        {one.blocked ? <span className="text-warn">{one.blocked_why ?? "kept away from"}</span> : (one.recent[0]?.why ?? "–")}
      </span>
    ),
  },
  { key: "act", head: "Actions", cell: (one) => <Block machine={one} /> },
];

const RECEIPTS: Column<OpenReceiptView>[] = [
  { key: "machine", head: "Machine", cell: (one) => `${one.provider} ${one.machine_id ?? "not known yet"}` },
  { key: "for", head: "Instance", cell: (one) => <Link className="underline" to={paths.instance(one.instance_id)}>{one.instance_id}</Link> },
  { key: "why", head: "Why it ends", cell: (one) => one.why ?? "–" },
  { key: "tries", head: "Tries", right: true, sort: (one) => one.tries, cell: (one) => one.tries },
  { key: "usd", head: "Cost so far", right: true, sort: (one) => Number(one.usd), cell: (one) => usd(one.usd) },
  { key: "late", head: "Note", cell: (one) => (one.late ? <strong className="text-bad">late</strong> : "") },
];

function Receipts() {
  const { data, error, isLoading, refetch } = useOrphansQuery(undefined, { pollingInterval: PACE.detail, skipPollingIfUnfocused: true });
  if (isLoading) return <Loading />;
  if (error && !data) return <ErrorPanel error={error} retry={refetch} />;
  const receipts = data?.data.receipts ?? [];
  if (receipts.length === 0) {
    return <p className="text-sm text-good">Every machine that was let go is proven gone.</p>;
  }
  return <DataTable label="Machines not proven gone" rows={receipts} columns={RECEIPTS} rowKey={(one) => one.attempt_id} />;
}

export function MachinesPage() {
  useTitle("Machines");
  const [gpu, setGpu] = useState("");
  const [blocked, setBlocked] = useState(false);
  const name = useDebounced(gpu);
  const { data, error, isLoading, refetch } = useMachineHistoryQuery({
    limit: 200,
    gpuName: name || undefined,
    ...(blocked && { blocked: true }),
  });
  const machines = data?.data.machines ?? [];
  return (
    <div className="grid gap-4">
      <h1 className="text-xl font-semibold">Machines</h1>
      <Card>
        <CardTitle>Not proven gone</CardTitle>
        <Receipts />
      </Card>
      <Pools />
      <section className="grid gap-3" aria-label="History">
        <h2 className="text-sm font-semibold">How machines have served</h2>
        <div className="flex flex-wrap items-end gap-4">
          <Field label="GPU">
            <Input value={gpu} placeholder="RTX 4090" onChange={(e) => setGpu(e.target.value)} />
          </Field>
          <Check label="Only those kept away from" checked={blocked} onChange={(e) => setBlocked(e.target.checked)} />
        </div>
        {isLoading ? (
          <Loading />
        ) : error && !data ? (
          <ErrorPanel error={error} retry={refetch} />
        ) : machines.length === 0 ? (
          name || blocked ? (
            <Empty title="Nothing matches">
              <Button
                variant="outline"
                onClick={() => {
                  setGpu("");
                  setBlocked(false);
                }}
              >
                Clear the filters
              </Button>
            </Empty>
          ) : (
            <Empty title="No machine was tried yet">
              <p>Every try is remembered here: which machines became ready, how fast, and why the others did not.</p>
            </Empty>
          )
        ) : (
          <DataTable label="Machine history" rows={machines} columns={COLUMNS} rowKey={(one) => one.id} />
        )}
      </section>
    </div>
  );
}
