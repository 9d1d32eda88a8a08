/** What of an instance can be changed while it lives: its name, when it sleeps, how often it is saved, what a loss leads to. */
import { useState, type FormEvent } from "react";
import { useEditInstanceMutation, type IdlePolicyBody, type InstanceView } from "@/api";
import { whyNot } from "@/api/can";
import { tell } from "@/components/tell";
import { Button } from "@/components/ui/button";
import { Check, Field, Input, Select } from "@/components/ui/field";
import { linesOf } from "@/lib/format";

export function Edit({ instance, close }: { instance: InstanceView; close: () => void }) {
  const [save, { isLoading }] = useEditInstanceMutation();
  const [name, setName] = useState(instance.name);
  const [policy, setPolicy] = useState(instance.idle_policy as Required<IdlePolicyBody>);
  const [every, setEvery] = useState(instance.snapshot_every_s / 60);
  const [onLoss, setOnLoss] = useState(instance.on_loss as "wake" | "hibernate");
  const [hot, setHot] = useState(((instance.spec.hot as string[] | undefined) ?? []).join("\n"));
  const set = (change: Partial<IdlePolicyBody>) => setPolicy((old) => ({ ...old, ...change }));
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    const patch = {
      name,
      idle_policy: policy,
      snapshot_every_s: every * 60,
      on_loss: onLoss,
      hot: linesOf(hot),
    };
    if (await tell("Saved", save({ instance: instance.id, patch }).unwrap())) close();
  };
  return (
    <form onSubmit={submit} className="grid gap-4" aria-label="Settings of the instance">
      <Field label="Name">
        <Input required pattern="[a-z0-9]([a-z0-9\-]{0,61}[a-z0-9])?" title="Small letters, digits and dashes" value={name} onChange={(e) => setName(e.target.value)} />
      </Field>
      <fieldset className="grid gap-3 rounded-md border p-3">
        <legend className="px-1 text-sm font-medium">When it sleeps</legend>
        <Check label="Hibernate by itself when idle" checked={policy.enabled} onChange={(e) => set({ enabled: e.target.checked })} />
        <div className="grid gap-3 sm:grid-cols-2">
          <Field label="After idle minutes">
            <Input type="number" min={1} max={10_080} step="any" value={policy.idle_after_s / 60} onChange={(e) => set({ idle_after_s: Number(e.target.value) * 60 })} />
          </Field>
          <Field label="Idle below GPU %">
            <Input type="number" min={0} max={100} step="any" value={policy.gpu_percent} onChange={(e) => set({ gpu_percent: Number(e.target.value) })} />
          </Field>
          <Field label="Grace after a start, minutes">
            <Input type="number" min={0} step="any" value={policy.startup_grace_s / 60} onChange={(e) => set({ startup_grace_s: Number(e.target.value) * 60 })} />
          </Field>
          <Field label="Network counts above, Mbit/s">
            <Input type="number" min={0} step="any" value={policy.network_mbit} onChange={(e) => set({ network_mbit: Number(e.target.value) })} />
          </Field>
        </div>
        <Check label="An SSH session that moves bytes counts as use" checked={policy.watch_ports} onChange={(e) => set({ watch_ports: e.target.checked })} />
        <Field label="Heartbeat file" hint="Your program touches it while it works; a young one keeps the machine awake.">
          <Input value={policy.heartbeat_file ?? ""} placeholder="/workspace/.alive" onChange={(e) => set({ heartbeat_file: e.target.value || null })} />
        </Field>
      </fieldset>
      <div className="grid gap-3 sm:grid-cols-2">
        <Field label="Snapshot every so many minutes" hint="While it runs and something changed. 0: only when it hibernates.">
          <Input type="number" min={0} max={1440} step="any" value={every} onChange={(e) => setEvery(Math.max(0, Number(e.target.value)))} />
        </Field>
        <Field label="When its machine is lost" hint="What changed since the newest snapshot is gone either way.">
          <Select value={onLoss} onChange={(e) => setOnLoss(e.target.value as typeof onLoss)}>
            <option value="wake">wake on another host</option>
            <option value="hibernate">stay asleep until asked</option>
          </Select>
        </Field>
      </div>
      <label className="grid gap-1 text-sm">
        <span className="font-medium">Files that come back first, a pattern a line</span>
        <textarea className="min-h-16 rounded-md border bg-card p-2 font-mono text-xs" spellCheck={false} value={hot} onChange={(e) => setHot(e.target.value)} placeholder="checkpoints/latest*" />
      </label>
      <div className="flex justify-end gap-2">
        <Button variant="outline" onClick={close}>
          Cancel
        </Button>
        <Button type="submit" disabled={isLoading} disabledReason={whyNot("edit", instance)}>
          Save
        </Button>
      </div>
    </form>
  );
}
