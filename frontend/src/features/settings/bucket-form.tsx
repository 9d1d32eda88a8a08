/** A bucket of one's own: kept only once everything that snapshots ask of it has been tried. */
import { CircleCheck, CircleX } from "lucide-react";
import { useState, type FormEvent } from "react";
import { useSaveStorageMutation, type BucketView, type StepView, type StorageBodyWrite, type VendorView } from "@/api";
import { detailsOf } from "@/api/errors";
import { ErrorPanel } from "@/components/states";
import { tell } from "@/components/tell";
import { Button } from "@/components/ui/button";
import { Field, Input, Select } from "@/components/ui/field";

const WORDS: Record<string, string> = {
  write: "Write an object",
  read: "Read a part of it",
  list: "Find it in the list",
  address: "Write and read by a signed address",
  delete: "Delete it",
};

/** What a try went through, until the step that failed. */
export function Steps({ steps }: { steps: readonly StepView[] }) {
  return (
    <ol className="grid gap-1 text-sm" aria-label="What was tried">
      {steps.map((one) => (
        <li key={one.step} className="flex gap-2">
          {one.problem === null ? <CircleCheck aria-label="went well" className="mt-0.5 size-4 shrink-0 text-good" /> : <CircleX aria-label="failed" className="mt-0.5 size-4 shrink-0 text-bad" />}
          <span className="min-w-0 break-words">
            {WORDS[one.step] ?? one.step}
            {one.problem !== null && <span className="text-bad">: {one.problem}</span>}
          </span>
        </li>
      ))}
    </ol>
  );
}

/** What keeping a gigabyte there costs, and what else its vendor bills. */
export const priceOf = (one: { usd_per_gb_month: string; minimum_days: number }): string =>
  `$${one.usd_per_gb_month} per GB and month${one.minimum_days > 0 ? `, each object for ${one.minimum_days} days at least` : ""}`;

export function BucketForm({ vendors, known, close }: { vendors: readonly VendorView[]; /** Whose keys change. */ known?: BucketView; close: () => void }) {
  const [save, { error, isLoading }] = useSaveStorageMutation();
  const [name, setName] = useState(known?.name ?? "");
  const [form, setForm] = useState<StorageBodyWrite>({
    vendor: (known?.vendor ?? "s3") as StorageBodyWrite["vendor"],
    bucket: known?.bucket ?? "",
    region: known?.region ?? "us-east-1",
    endpoint: known?.endpoint ?? null,
    access_key: "",
    secret_key: "",
  });
  const set = (change: Partial<StorageBodyWrite>) => setForm((old) => ({ ...old, ...change }));
  const vendor = vendors.find((one) => one.name === form.vendor);
  const steps = detailsOf(error).steps as StepView[] | undefined;
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    const saving = save({ name, storageBody: { ...form, endpoint: form.endpoint || null } });
    if ((await saving).data) {
      close();
      void tell(`${name} went through every step and is kept`, saving);
    }
  };
  return (
    <form onSubmit={submit} className="grid gap-4" aria-label={known ? "New keys of a bucket" : "A bucket of your own"}>
      {!known && (
        <>
          <Field label="Vendor" hint={vendor && `${priceOf(vendor)}; reading: ${vendor.egress}. ${vendor.source}`}>
            <Select value={form.vendor} onChange={(e) => set({ vendor: e.target.value as StorageBodyWrite["vendor"], endpoint: null })}>
              {vendors.map((one) => (
                <option key={one.name} value={one.name}>
                  {one.title}
                </option>
              ))}
            </Select>
          </Field>
          <div className="grid gap-3 sm:grid-cols-2">
            <Field label="Name" hint="What you call it here.">
              <Input required pattern="[a-z0-9]([a-z0-9\-]{0,61}[a-z0-9])?" title="Small letters, digits and dashes" value={name} onChange={(e) => setName(e.target.value)} />
            </Field>
            <Field label="Bucket" hint="As its vendor knows it.">
              <Input required pattern="[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9]" title="Small letters, digits, dots and dashes" value={form.bucket} onChange={(e) => set({ bucket: e.target.value })} />
            </Field>
            <Field label="Region">
              <Input required pattern="[a-z0-9]([a-z0-9\-]{0,38}[a-z0-9])?" title="Such as us-east-1" value={form.region} onChange={(e) => set({ region: e.target.value })} />
            </Field>
            <Field label="Endpoint" hint={vendor?.endpoint ? `Empty: ${vendor.endpoint.replace("{region}", form.region ?? "")}` : "Your account’s own address."}>
              <Input type="url" required={vendor !== undefined && vendor.endpoint === null} placeholder="https://" value={form.endpoint ?? ""} onChange={(e) => set({ endpoint: e.target.value })} />
            </Field>
          </div>
        </>
      )}
      <div className="grid gap-3 sm:grid-cols-2">
        <Field label="Access key">
          <Input required autoComplete="off" spellCheck={false} value={form.access_key} onChange={(e) => set({ access_key: e.target.value })} />
        </Field>
        <Field label="Secret key" hint="Kept sealed, shown to nobody again.">
          <Input required type="password" autoComplete="off" value={form.secret_key} onChange={(e) => set({ secret_key: e.target.value })} />
        </Field>
      </div>
      {error && (
        <div className="grid gap-3">
          <ErrorPanel error={error} />
          {steps && <Steps steps={steps} />}
        </div>
      )}
      <div className="flex justify-end gap-2">
        <Button variant="outline" onClick={close}>
          Cancel
        </Button>
        <Button type="submit" disabled={isLoading}>
          {isLoading ? "Trying it…" : "Try and keep it"}
        </Button>
      </div>
    </form>
  );
}
