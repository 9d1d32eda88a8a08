import { lazy, useMemo, useState } from "react";
import { Link, useSearchParams } from "react-router";
import { useListBlocksQuery, useMachineHistoryQuery, useOrphansQuery, useWhoAmIQuery, type MachineHistoryView, type OpenReceiptView } from "@/api";
import { PACE } from "@/api/hooks";
import { DataTable, type Column } from "@/components/data-table";
import { Modal } from "@/components/modal";
import { PageHead } from "@/components/page";
import { Part } from "@/components/part";
import { Stat, Stats } from "@/components/stat";
import { Empty, ErrorPanel, Loading } from "@/components/states";
import { Button } from "@/components/ui/button";
import { Card, CardTitle } from "@/components/ui/card";
import { Check, Field, Input, Select } from "@/components/ui/field";
import { When } from "@/components/when";
import { Tries } from "@/features/machines/tries";
import { count, percent, span, usd } from "@/lib/format";
import { paths } from "@/lib/paths";
import { useDebounced } from "@/lib/use-debounced";
import { useTitle } from "@/lib/use-title";

const Machine = lazy(async () => ({ default: (await import("@/features/machines/machine")).Machine }));
const Pools = lazy(async () => ({ default: (await import("@/features/machines/pools")).Pools }));
const Transfer = lazy(async () => ({ default: (await import("@/features/machines/transfer")).Transfer }));

type Row = MachineHistoryView & { word: string | null };

const COLUMNS: Column<Row>[] = [
  {
    key: "id",
    head: "Machine",
    sort: (one) => one.id,
    cell: (one) => (
      <span className="grid">
        <span className="break-words">{one.id}</span>
        <span className="text-xs font-normal text-muted-foreground">{one.region || "region not told"}</span>
      </span>
    ),
  },
  { key: "gpu", head: "GPU", card: "beside", sort: (one) => one.gpu_name, cell: (one) => <span className="whitespace-nowrap">{one.gpu_name}</span> },
  {
    key: "rate",
    head: "Becomes ready",
    right: true,
    // The cautious end of the interval: 3 of 3 must not beat 480 of 500.
    sort: (one) => one.rate_low,
    cell: (one) => (
      <span title="Recent tries weigh more; in brackets the interval it lies in, and of how many tries">
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
  { key: "tries", head: "Last tries", cell: (one) => <Tries machine={one} /> },
  {
    key: "last",
    head: "Last",
    sort: (one) => one.updated_at,
    cell: (one) => (
      <span className="grid text-xs">
        <When at={one.updated_at} className="text-muted-foreground" />
        {(one.word ?? one.blocked_why) && <span className="text-warn">{one.word ?? one.blocked_why}</span>}
      </span>
    ),
  },
  {
    key: "act",
    head: "Actions",
    card: "end",
    cell: (one) => (
      <Modal
        trigger={
          <Button size="sm" variant="outline" aria-label={`Details of ${one.id}`}>
            Details
          </Button>
        }
        heading={one.id}
      >
        {(close) => (
          <Part>
            <Machine machine={one} close={close} />
          </Part>
        )}
      </Modal>
    ),
  },
];

const RECEIPTS: Column<OpenReceiptView>[] = [
  { key: "machine", head: "Machine", cell: (one) => `${one.provider} ${one.machine_id ?? "not known yet"}` },
  { key: "note", head: "Note", card: "beside", cell: (one) => (one.late ? <strong className="text-bad">late</strong> : <span className="text-muted-foreground">on its way</span>) },
  { key: "for", head: "Instance", cell: (one) => <Link className="underline" to={paths.instance(one.instance_id)}>{one.instance_id}</Link> },
  { key: "why", head: "Why it ends", cell: (one) => one.why ?? "–" },
  { key: "since", head: "Asked", cell: (one) => <When at={one.requested_at} /> },
  { key: "tries", head: "Tries", right: true, sort: (one) => one.tries, cell: (one) => one.tries },
  { key: "usd", head: "Cost so far", right: true, sort: (one) => Number(one.usd), cell: (one) => usd(one.usd) },
];

export function MachinesPage() {
  useTitle("Machines");
  const [params, setParams] = useSearchParams();
  const gpu = params.get("gpu") ?? "";
  const provider = params.get("provider") ?? "";
  const blocked = params.has("blocked");
  const set = (name: string, value: string) =>
    setParams(
      (old) => {
        if (value) old.set(name, value);
        else old.delete(name);
        return old;
      },
      { replace: true },
    );
  const name = useDebounced(gpu);
  const { data, error, isLoading, refetch } = useMachineHistoryQuery({
    limit: 200,
    gpuName: name || undefined,
    provider: provider || undefined,
    ...(blocked && { blocked: true }),
  });
  const open = useOrphansQuery(undefined, { pollingInterval: PACE.detail, skipPollingIfUnfocused: true });
  const blocks = useListBlocksQuery().data?.data.blocks;
  const me = useWhoAmIQuery().data?.data;
  const [pools, setPools] = useState(false);
  const machines = useMemo((): Row[] => {
    const words = new Map((blocks ?? []).map((one) => [one.machine, `you ${one.allow ? "allow" : "block"} it${one.why && `: ${one.why}`}`]));
    return (data?.data.machines ?? []).map((one) => ({ ...one, word: words.get(one.id) ?? null }));
  }, [data, blocks]);
  // Both at once: receipts that came later would push the history down.
  const waiting = isLoading || open.isLoading;
  const receipts = open.data?.data.receipts ?? [];
  const tries = machines.reduce((sum, one) => sum + one.counted, 0);
  const boots = machines.flatMap((one) => (one.boot_p50_s === null ? [] : [one.boot_p50_s])).sort((a, b) => a - b);
  return (
    <div className="grid gap-4">
      <PageHead title="Machines" words="Which hosts became ready, how fast, and why the others did not. What fails is kept away from for a while.">
        {(!me || me.admin) && (
          // Its room is kept until it is known who asks.
          <div className="flex min-h-8 flex-wrap gap-2">
            {me && (
              <Part waiting={null}>
                <Transfer />
              </Part>
            )}
          </div>
        )}
      </PageHead>
      <Stats>
        <Stat label="Machines known" value={data ? `${machines.length}${data.data.next_cursor ? "+" : ""}` : "–"}>
          {data ? `${count(tries, "try", "tries")} remembered` : "not known yet"}
        </Stat>
        <Stat label="Half boot within" value={boots.length ? span(boots[Math.floor(boots.length / 2)]!) : "–"}>
          median of their P50s
        </Stat>
        <Stat label="Kept away from" value={data ? machines.filter((one) => one.blocked).length : "–"} tone={machines.some((one) => one.blocked) ? "warn" : undefined}>
          of those shown
        </Stat>
        <Stat label="Not proven gone" value={open.data ? receipts.length : "–"} tone={receipts.some((one) => one.late) ? "bad" : receipts.length === 0 && open.data ? "good" : undefined}>
          {!open.data ? "not known yet" : receipts.length === 0 ? "every end is proven" : receipts.some((one) => one.late) ? "some are late" : "being ended now"}
        </Stat>
      </Stats>
      {open.error && !open.data ? (
        <ErrorPanel error={open.error} retry={open.refetch} />
      ) : (
        !waiting &&
        receipts.length > 0 && (
          <section className="grid gap-2" aria-label="Receipts">
            <h2 className="text-base font-semibold">Not proven gone</h2>
            <DataTable label="Machines not proven gone" rows={receipts} columns={RECEIPTS} rowKey={(one) => one.attempt_id} />
          </section>
        )
      )}
      <section className="grid gap-3" aria-label="History">
        <div className="flex flex-wrap items-end justify-between gap-3">
          <h2 className="text-base font-semibold">History</h2>
          <div className="flex flex-wrap items-end gap-3">
            <div className="w-36">
              <Field label="GPU">
                <Input value={gpu} placeholder="any" onChange={(e) => set("gpu", e.target.value)} />
              </Field>
            </div>
            <Field label="Provider">
              <Select value={provider} onChange={(e) => set("provider", e.target.value)}>
                <option value="">all</option>
                <option>vast</option>
                <option>tensordock</option>
                <option>gce</option>
              </Select>
            </Field>
            <div className="pb-1.5">
              <Check label="Only those kept away from" checked={blocked} onChange={(e) => set("blocked", e.target.checked ? "1" : "")} />
            </div>
          </div>
        </div>
        {waiting ? (
          <Loading />
        ) : error && !data ? (
          <ErrorPanel error={error} retry={refetch} />
        ) : machines.length === 0 ? (
          name || blocked || provider ? (
            <Empty title="Nothing matches">
              <Button variant="outline" onClick={() => setParams({}, { replace: true })}>
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
      {/* Not before its place is known. */}
      {!waiting && (
        <Card>
          <div className="flex items-start justify-between gap-3">
            <CardTitle>Pools of warm machines</CardTitle>
            <Button size="xs" variant="outline" aria-expanded={pools} onClick={() => setPools(!pools)}>
              {pools ? "Hide" : "Show"}
            </Button>
          </div>
          <p className="text-sm text-muted-foreground">
            Machines that run before anyone asks; the strategy “serverless” takes one in about a second. They are paid for while they wait.
          </p>
          {pools && (
            <div className="mt-3">
              <Part>
                <Pools />
              </Part>
            </div>
          )}
        </Card>
      )}
    </div>
  );
}
