/** One machine's past in full: every try that is remembered, what it measured, and your word on it. */
import { useState } from "react";
import { useBlockMachineMutation, useListBlocksQuery, useUnblockMachineMutation, type MachineHistoryView } from "@/api";
import { tell } from "@/components/tell";
import { Button } from "@/components/ui/button";
import { Field, Input } from "@/components/ui/field";
import { When } from "@/components/when";
import { READY } from "@/features/machines/tries";
import { percent, span } from "@/lib/format";

function Word({ machine, close }: { machine: MachineHistoryView; close: () => void }) {
  const { data } = useListBlocksQuery();
  const [block] = useBlockMachineMutation();
  const [unblock] = useUnblockMachineMutation();
  const [why, setWhy] = useState("");
  const mine = data?.data.blocks.find((one) => one.machine === machine.id);
  const act = async (words: string, acting: Promise<unknown>) => {
    if (await tell(words, acting)) close();
  };
  if (mine) {
    return (
      <div className="grid gap-2">
        <p>
          You {mine.allow ? "allow" : "block"} it{mine.why && `: ${mine.why}`}.
        </p>
        <Button
          size="sm"
          variant="outline"
          className="justify-self-start"
          onClick={() => void act(`Your word on ${machine.id} is taken back`, unblock({ machine: machine.id }).unwrap())}
        >
          {mine.allow ? "Stop allowing" : "Unblock"}
        </Button>
      </div>
    );
  }
  const allow = machine.blocked;
  return (
    <form
      className="flex flex-wrap items-end gap-2"
      aria-label={allow ? "Allow this machine" : "Block this machine"}
      onSubmit={(event) => {
        event.preventDefault();
        void act(
          allow ? `${machine.id} may be tried again for you` : `${machine.id} will not be asked for you`,
          block({ machine: machine.id, blockBody: { allow, why: why || "by hand" } }).unwrap(),
        );
      }}
    >
      <div className="min-w-40 flex-1">
        <Field label="Why">
          <Input maxLength={200} placeholder="by hand" value={why} onChange={(e) => setWhy(e.target.value)} />
        </Field>
      </div>
      <Button type="submit" variant={allow ? "outline" : "danger"}>
        {allow ? "Allow it for you" : "Block it for you"}
      </Button>
    </form>
  );
}

export function Machine({ machine, close }: { machine: MachineHistoryView; close: () => void }) {
  const facts: [string, string][] = [
    ["GPU", machine.gpu_name],
    ["Host", `${machine.provider} ${machine.host_id}`],
    ["Becomes ready", `${percent(machine.rate)}, in ${percent(machine.rate_low)}–${percent(machine.rate_high)} of ${machine.counted}`],
    ["Boot P50, P95", machine.boot_p50_s === null ? "–" : `${span(machine.boot_p50_s)}, ${machine.boot_p95_s === null ? "–" : span(machine.boot_p95_s)}`],
    ["Disk", machine.disk_mb_s === null ? "–" : `${machine.disk_mb_s.toFixed(0)} MB/s`],
    ["Download", machine.down_mb_s === null ? "–" : `${machine.down_mb_s.toFixed(0)} MB/s`],
  ];
  return (
    <div className="grid gap-4 text-sm">
      <dl className="grid grid-cols-2 gap-x-4 gap-y-2">
        {facts.map(([label, value]) => (
          <div key={label}>
            <dt className="text-xs text-muted-foreground">{label}</dt>
            <dd className="break-words tabular-nums">{value}</dd>
          </div>
        ))}
      </dl>
      {machine.blocked && (
        <p className="text-warn">
          Kept away from: {machine.blocked_why ?? "it failed too often"}
          {machine.blocked_until && (
            <>
              , until <When at={machine.blocked_until} />
            </>
          )}
          .
        </p>
      )}
      <ol className="grid max-h-48 content-start gap-1 overflow-auto" tabIndex={0} aria-label="Its tries">
        {machine.recent.map((one) => (
          <li key={one.at} className="flex justify-between gap-3">
            <span>
              <When at={one.at} className="text-xs text-muted-foreground" />{" "}
              <span className={one.outcome === READY ? "text-good" : "text-bad"}>{one.outcome.replaceAll("_", " ")}</span>
              {one.why && `: ${one.why}`}
            </span>
            <span className="whitespace-nowrap tabular-nums">{one.boot_s === null ? "" : span(one.boot_s)}</span>
          </li>
        ))}
      </ol>
      <Word machine={machine} close={close} />
    </div>
  );
}
