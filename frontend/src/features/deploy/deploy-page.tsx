/** A new instance: everything has a default, so that one press is enough; what matches is shown beside it. */
import { useEffect, useState, type FormEvent } from "react";
import { useNavigate, useSearchParams } from "react-router";
import { useListStorageQuery, useProvisionMutation, useShowDefaultsQuery } from "@/api";
import { Snippet } from "@/components/copy";
import { PageHead } from "@/components/page";
import { ErrorPanel } from "@/components/states";
import { Button } from "@/components/ui/button";
import { Card, CardTitle } from "@/components/ui/card";
import { Check, Field, Input, Select } from "@/components/ui/field";
import { Offers, useOffers } from "@/features/deploy/offers";
import { ASKED } from "@/features/deploy/outlook";
import { commandOf, requestOf, START, type Form } from "@/features/deploy/request";
import { Strategy } from "@/features/deploy/strategy";
import { paths } from "@/lib/paths";
import { useTitle } from "@/lib/use-title";

const PRESETS: [string, Partial<Form>][] = [
  ["Fine-tune", { gpu: "RTX 4090", count: 1, vram: 0, disk: 80 }],
  ["Big model", { gpu: "", count: 1, vram: 79, disk: 200 }],
  ["Cheap tries", { gpu: "", count: 1, vram: 12, disk: 20, strategy: "auto" }],
];
const PROVIDERS = ["vast", "tensordock", "gce"] as const;
const GPUS = ["RTX 3090", "RTX 4090", "RTX 5090", "RTX A6000", "L4", "L40S", "A100", "H100", "H200"];

export function DeployPage() {
  useTitle("Deploy");
  const navigate = useNavigate();
  const [params] = useSearchParams();
  const [form, setForm] = useState<Form>(() => ({ ...START, gpu: params.get("gpu") ?? START.gpu }));
  const [touched, setTouched] = useState(false);
  const { data: defaults } = useShowDefaultsQuery();
  const [provision, { error, isLoading }] = useProvisionMutation();
  // One key for one intention: a second press after a lost answer finds the first instance.
  const [intention, setIntention] = useState(() => crypto.randomUUID());
  const mine = defaults?.data.strategy as Form["strategy"] | undefined;
  useEffect(() => {
    if (mine && !touched) setForm((old) => ({ ...old, strategy: mine }));
  }, [mine, touched]);
  const set = (change: Partial<Form>) => {
    setTouched(true);
    setIntention(crypto.randomUUID());
    setForm((old) => ({ ...old, ...change }));
  };

  const submit = async (event: FormEvent) => {
    event.preventDefault();
    const answer = await provision({ wait: 0, "Idempotency-Key": intention, provisionRequest: requestOf(form) });
    if (answer.data) void navigate(paths.instance(answer.data.data.id));
  };

  const words = defaults?.data.strategies ?? {};
  const { offers } = useOffers(form, false);
  const buckets = useListStorageQuery().data?.data.buckets ?? [];
  return (
    <form onSubmit={submit} className="grid gap-4">
      <PageHead title="Deploy" words="Everything has a default: one press is enough.">
        <span className="flex flex-wrap items-center gap-2" role="group" aria-labelledby="presets">
          <span id="presets" className="text-sm text-muted-foreground">
            Start from
          </span>
          {PRESETS.map(([label, change]) => (
            <Button key={label} variant="outline" size="sm" onClick={() => set(change)}>
              {label}
            </Button>
          ))}
        </span>
        <Button type="submit" size="sm" className="max-sm:w-full" disabled={isLoading}>
          {isLoading ? "Asking…" : "Deploy now"}
        </Button>
      </PageHead>
      {error && <ErrorPanel error={error} />}
      <div className="grid gap-4 lg:grid-cols-[3fr_2fr]">
        <div className="grid content-start gap-4">
          <Card>
            <CardTitle>Machine</CardTitle>
            <div className="grid grid-cols-2 gap-3">
              <Field label="GPU" hint="Empty: any that fits.">
                <Input list="gpus" value={form.gpu} onChange={(e) => set({ gpu: e.target.value })} />
              </Field>
              <datalist id="gpus">
                {GPUS.map((name) => (
                  <option key={name} value={name} />
                ))}
              </datalist>
              <Field label="GPUs" hint="In one machine.">
                <Input type="number" min={1} max={16} value={form.count} onChange={(e) => set({ count: Number(e.target.value) || 1 })} />
              </Field>
              <Field label="VRAM, GB" hint="At least, on each GPU.">
                <Input type="number" min={0} value={form.vram} onChange={(e) => set({ vram: Number(e.target.value) || 0 })} />
              </Field>
              <Field label="Disk, GiB" hint="At least 8.">
                <Input type="number" min={8} value={form.disk} onChange={(e) => set({ disk: Number(e.target.value) || 8 })} />
              </Field>
              <Field label="At most, $ an hour" hint="Empty: the cheapest there is.">
                <Input
                  inputMode="decimal"
                  pattern="[0-9]*\.?[0-9]+"
                  value={form.maxPrice}
                  onChange={(e) => set({ maxPrice: e.target.value })}
                />
              </Field>
              <Field label="Region" hint="Such as US; empty: anywhere.">
                <Input pattern="[A-Za-z]{2}" maxLength={2} value={form.region} onChange={(e) => set({ region: e.target.value })} />
              </Field>
            </div>
            <fieldset className="mt-3 flex flex-wrap gap-4">
              <legend className="mb-1 text-sm font-medium">Only these providers; none chosen: all</legend>
              {PROVIDERS.map((name) => (
                <Check
                  key={name}
                  label={name}
                  checked={form.providers.includes(name)}
                  onChange={(e) =>
                    set({ providers: e.target.checked ? [...form.providers, name] : form.providers.filter((one) => one !== name) })
                  }
                />
              ))}
            </fieldset>
          </Card>
          <Card>
            <CardTitle>How it is found</CardTitle>
            <div className="grid gap-3">
              <Strategy form={form} set={set} mine={mine} words={words} offers={offers} />
              <Check
                label="Interruptible: cheaper; when it is taken away, it wakes elsewhere from its newest snapshot"
                checked={form.interruptible}
                onChange={(e) => set({ interruptible: e.target.checked })}
              />
              {form.interruptible && (
                <Field label="Bid above the lowest, %" hint="The market page says which bid lasts.">
                  <Input type="number" min={0} max={300} value={form.headroom} onChange={(e) => set({ headroom: Math.max(0, Number(e.target.value) || 0) })} />
                </Field>
              )}
            </div>
          </Card>
          <Card>
            <CardTitle>Instance</CardTitle>
            <div className="grid gap-3 sm:grid-cols-2">
              <Field label="Name" hint="Empty: one is made up.">
                <Input
                  pattern="[a-z0-9]([a-z0-9\-]{0,61}[a-z0-9])?"
                  title="Small letters, digits and dashes"
                  value={form.name}
                  onChange={(e) => set({ name: e.target.value })}
                />
              </Field>
              <Field label="Hibernate after idle minutes" hint="0: never by itself. Then it is paid for until you stop it.">
                <Input
                  type="number"
                  min={0}
                  max={10080}
                  value={form.idleMinutes}
                  onChange={(e) => set({ idleMinutes: Math.max(0, Number(e.target.value) || 0) })}
                />
              </Field>
              <Field label="Image" hint="Empty: PyTorch with CUDA 12.4.">
                <Input value={form.image} onChange={(e) => set({ image: e.target.value })} />
              </Field>
              <Field label="Set-up command" hint="Runs once on every fresh machine.">
                <Input value={form.setup} onChange={(e) => set({ setup: e.target.value })} />
              </Field>
            </div>
          </Card>
          <details className="rounded-lg border bg-card p-3 sm:p-4">
            <summary className="text-sm font-semibold">More: snapshots, storage, ports, environment</summary>
            <div className="mt-3 grid gap-3 sm:grid-cols-2">
              <Field label="Snapshot every so many minutes" hint="While it runs and something changed. 0: when it hibernates.">
                <Input type="number" min={0} max={1440} value={form.snapshotMinutes} onChange={(e) => set({ snapshotMinutes: Math.max(0, Number(e.target.value) || 0) })} />
              </Field>
              <Field label="When its machine is lost">
                <Select value={form.onLoss} onChange={(e) => set({ onLoss: e.target.value as Form["onLoss"] })}>
                  <option value="wake">wake on another host</option>
                  <option value="hibernate">stay asleep until asked</option>
                </Select>
              </Field>
              <Field label="Bucket" hint="Where its snapshots go, for good. Settings add yours.">
                <Select value={form.storage} onChange={(e) => set({ storage: e.target.value })}>
                  <option value="">default{buckets.find((one) => one.default) && ` (${buckets.find((one) => one.default)!.name})`}</option>
                  {buckets.map((one) => (
                    <option key={one.name} value={one.name}>
                      {one.name}: {one.title}, ${one.usd_per_gb_month} per GB and month
                    </option>
                  ))}
                </Select>
              </Field>
              <Field label="Hosts that say at least, %" hint="Their own word on reliability.">
                <Input type="number" min={0} max={100} step="any" value={form.minReliability} onChange={(e) => set({ minReliability: Number(e.target.value) || 0 })} />
              </Field>
              <Field label="Open ports" hint="Such as 8888 6006.">
                <Input inputMode="numeric" value={form.ports} onChange={(e) => set({ ports: e.target.value })} />
              </Field>
              <span aria-hidden className="hidden sm:block" />
              <label className="grid gap-1 text-sm">
                <span className="font-medium">Environment, KEY=VALUE a line</span>
                <textarea className="min-h-16 rounded-md border bg-card p-2 font-mono text-xs" spellCheck={false} value={form.env} onChange={(e) => set({ env: e.target.value })} />
              </label>
              <label className="grid gap-1 text-sm">
                <span className="font-medium">Left out of snapshots, a pattern a line</span>
                <textarea className="min-h-16 rounded-md border bg-card p-2 font-mono text-xs" spellCheck={false} value={form.excludes} onChange={(e) => set({ excludes: e.target.value })} />
              </label>
            </div>
          </details>
          <details className="rounded-lg border bg-card p-3 sm:p-4">
            <summary className="text-sm font-semibold">The same as a command and as JSON</summary>
            <div className="mt-3 grid gap-2">
              <Snippet label="CLI command" text={commandOf(form)} />
              <Snippet label="request body" text={JSON.stringify(requestOf(form), null, 2)} />
            </div>
          </details>
        </div>
        <div className="grid content-start gap-4 lg:sticky lg:top-16">
          <Card>
            <CardTitle>What matches now</CardTitle>
            <Offers form={form} width={form.strategy === "race" ? form.width : ASKED[form.strategy]} />
          </Card>
        </div>
      </div>
    </form>
  );
}
