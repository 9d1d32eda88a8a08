import { useEffect, useRef, useState, type FormEvent, type KeyboardEvent } from "react";
import { useStartExecMutation, useLazyShowExecQuery } from "@/features/instances/exec-api";
import { whyNot } from "@/api/can";
import { problemOf } from "@/api/errors";
import type { InstanceView } from "@/api";
import { Button } from "@/components/ui/button";
import { Input } from "@/components/ui/field";

interface Line {
  command: string;
  output: string;
  exit: number | null;
}

/** Commands on the machine, one after another; each runs in a shell of its own. */
export function Terminal({ instance }: { instance: InstanceView }) {
  const [lines, setLines] = useState<Line[]>([]);
  const [command, setCommand] = useState("");
  const [busy, setBusy] = useState(false);
  const [start] = useStartExecMutation();
  const [show] = useLazyShowExecQuery();
  const reason = whyNot("exec", instance);
  // How far back the arrow keys have gone; 0 is the line that is being written.
  const [back, setBack] = useState(0);
  const screen = useRef<HTMLDivElement>(null);
  // In braces: newer browsers answer a promise here, and what an effect answers is called when it ends.
  useEffect(() => {
    screen.current?.scrollTo?.({ top: screen.current.scrollHeight });
  }, [lines, busy]);
  const recall = (event: KeyboardEvent) => {
    const next = event.key === "ArrowUp" ? back + 1 : event.key === "ArrowDown" ? back - 1 : null;
    if (next === null || next < 0 || next > lines.length) return;
    event.preventDefault();
    setBack(next);
    setCommand(next === 0 ? "" : lines[lines.length - next]!.command);
  };

  const run = async (event: FormEvent) => {
    event.preventDefault();
    if (!command.trim() || busy || reason) return;
    setBusy(true);
    const asked = command;
    setCommand("");
    setBack(0);
    try {
      let order = (
        await start({
          instance: instance.id,
          wait: 25,
          "Idempotency-Key": crypto.randomUUID(),
          execRequest: { command: ["bash", "-c", asked], timeout_s: 600 },
        }).unwrap()
      ).data;
      while (order.state === "pending" || order.state === "running") {
        order = (await show({ instance: instance.id, order: order.id, wait: 25 }).unwrap()).data;
      }
      setLines((all) => [...all, { command: asked, output: (order.stdout ?? "") + (order.stderr ?? "") + (order.error ?? ""), exit: order.exit_code ?? null }]);
    } catch (error) {
      setLines((all) => [...all, { command: asked, output: problemOf(error).message, exit: null }]);
    } finally {
      setBusy(false);
    }
  };

  return (
    <div className="grid gap-2">
      <div
        ref={screen}
        role="log"
        aria-label="Terminal output"
        tabIndex={0}
        className="h-64 overflow-auto rounded-md border bg-muted p-3 font-mono text-xs whitespace-pre"
      >
        {lines.length === 0 && <span className="whitespace-normal text-muted-foreground">Each command runs in a shell of its own. Try: nvidia-smi</span>}
        {lines.map((line, index) => (
          <div key={index} className="mb-2">
            <div className="text-primary">$ {line.command}</div>
            {line.output}
            {line.exit !== 0 && line.exit !== null && <div className="text-bad">exit {line.exit}</div>}
          </div>
        ))}
        {busy && <span className="animate-pulse">…</span>}
      </div>
      <form onSubmit={run} className="flex gap-2">
        <Input aria-label="Command" placeholder="Command" className="font-mono" autoComplete="off" autoCapitalize="off" spellCheck={false} value={command} onKeyDown={recall} onChange={(e) => setCommand(e.target.value)} />
        <Button type="submit" disabled={busy} disabledReason={reason}>
          Run
        </Button>
      </form>
    </div>
  );
}
