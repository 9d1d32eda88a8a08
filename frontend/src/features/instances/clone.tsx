/** A new instance from a snapshot: like the original, but for what is said here. */
import { useState, type FormEvent } from "react";
import { useNavigate } from "react-router";
import { useCloneSnapshotMutation, useListStorageQuery, type InstanceView, type SnapshotView } from "@/api";
import { ErrorPanel } from "@/components/states";
import { Button } from "@/components/ui/button";
import { Field, Input, Select } from "@/components/ui/field";
import { paths } from "@/lib/paths";

export function Clone({ instance, one, close }: { instance: InstanceView; one: SnapshotView; close: () => void }) {
  const navigate = useNavigate();
  const [clone, { error, isLoading }] = useCloneSnapshotMutation();
  const buckets = useListStorageQuery().data?.data.buckets ?? [];
  const { need } = instance;
  const [form, setForm] = useState({ name: `${instance.name.slice(0, 56)}-clone`, gpu: need.gpu_name ?? "", count: need.gpu_count, disk: need.disk_gib, price: need.max_usd_per_hour ?? "", storage: "" });
  // One key for one intention: a second press after a lost answer finds the first clone.
  const [intention, setIntention] = useState(() => crypto.randomUUID());
  const set = (change: Partial<typeof form>) => {
    setIntention(crypto.randomUUID());
    setForm((old) => ({ ...old, ...change }));
  };
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    const answer = await clone({
      instance: instance.id,
      snapshot: one.id,
      wait: 0,
      "Idempotency-Key": intention,
      cloneBody: {
        name: form.name,
        ...(form.gpu && form.gpu !== need.gpu_name && { gpu_name: form.gpu }),
        ...(form.count !== need.gpu_count && { gpu_count: form.count }),
        ...(form.disk !== need.disk_gib && { disk_gib: form.disk }),
        ...(form.price && form.price !== need.max_usd_per_hour && { max_usd_per_hour: form.price }),
        ...(form.storage && { storage: form.storage }),
      },
    });
    if (!answer.data) return;
    close();
    void navigate(paths.instance(answer.data.data.id));
  };
  return (
    <form onSubmit={submit} className="grid gap-4" aria-label="Clone">
      <Field label="Name">
        <Input required pattern="[a-z0-9]([a-z0-9\-]{0,61}[a-z0-9])?" title="Small letters, digits and dashes" value={form.name} onChange={(e) => set({ name: e.target.value })} />
      </Field>
      <div className="grid grid-cols-2 gap-3">
        <Field label="GPU" hint={need.gpu_name ? undefined : "Empty: any that fits."}>
          <Input required={need.gpu_name !== null} value={form.gpu} onChange={(e) => set({ gpu: e.target.value })} />
        </Field>
        <Field label="GPUs">
          <Input type="number" min={1} max={16} value={form.count} onChange={(e) => set({ count: Number(e.target.value) || 1 })} />
        </Field>
        <Field label="Disk, GiB">
          <Input type="number" min={8} step="any" value={form.disk} onChange={(e) => set({ disk: Number(e.target.value) || 8 })} />
        </Field>
        <Field label="At most, $ an hour" hint={need.max_usd_per_hour ? undefined : "Empty: the cheapest there is."}>
          <Input required={need.max_usd_per_hour !== null} inputMode="decimal" pattern="[0-9]*\.?[0-9]+" value={form.price} onChange={(e) => set({ price: e.target.value })} />
        </Field>
      </div>
      <Field label="Bucket" hint="Where its own snapshots go. It reads the original’s files once.">
        <Select value={form.storage} onChange={(e) => set({ storage: e.target.value })}>
          <option value="">where the original’s are</option>
          {buckets.map((bucket) => (
            <option key={bucket.name} value={bucket.name}>
              {bucket.name}: {bucket.title}, ${bucket.usd_per_gb_month} per GB and month
            </option>
          ))}
        </Select>
      </Field>
      {error && <ErrorPanel error={error} />}
      <div className="flex justify-end gap-2">
        <Button variant="outline" onClick={close}>
          Cancel
        </Button>
        <Button type="submit" disabled={isLoading}>
          {isLoading ? "Asking…" : "Clone it"}
        </Button>
      </div>
    </form>
  );
}
