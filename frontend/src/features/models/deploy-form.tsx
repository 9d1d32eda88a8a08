/** A model to an endpoint: first what it needs and on which GPUs it fits now, then the deployment. */
import { useState, type FormEvent } from "react";
import { useDeployModelMutation, useListOffersQuery, type DeployBody, type FitView, type NewDeploymentView, type OfferView, type RuntimeView } from "@/api";
import { ErrorPanel } from "@/components/states";
import { Button } from "@/components/ui/button";
import { Field, Input, Select } from "@/components/ui/field";
import { Fit } from "@/features/models/fit";
import { cn } from "@/lib/cn";
import { usdPerHour } from "@/lib/format";

/** The cheapest of each kind of GPU, cheapest first. */
export function cheapestOf(offers: readonly OfferView[]): OfferView[] {
  const best = new Map<string, OfferView>();
  for (const one of offers) {
    const known = best.get(one.gpu_name);
    if (one.why_not === null && (known === undefined || Number(one.price.total) < Number(known.price.total))) best.set(one.gpu_name, one);
  }
  return [...best.values()].sort((a, b) => Number(a.price.total) - Number(b.price.total));
}

function Where({ fit, price, gpu, onGpu }: { fit: FitView; price: string; gpu: string; onGpu: (gpu: string) => void }) {
  const { data, isLoading, error } = useListOffersQuery({ minVramGb: fit.vram_gb, gpuCount: Math.max(1, fit.gpu_count), maxUsdPerHour: price || undefined, limit: 200 });
  const kinds = cheapestOf(data?.data.offers ?? []).slice(0, 4);
  const on = kinds.find((one) => one.gpu_name === gpu) ?? kinds[0];
  return (
    <div className="grid gap-3">
      <Fit fit={fit} vramGb={on?.vram_gb} on={on && `${on.gpu_name}, ${on.vram_gb.toFixed(0)} GB`} />
      {isLoading && <p className="text-sm text-muted-foreground">Asking where it fits…</p>}
      {error && <ErrorPanel error={error} />}
      {data && kinds.length === 0 && <p className="text-sm text-warn">No machine that is on offer now has that much memory{price && " at that price"}. It is searched for again when you deploy.</p>}
      {kinds.length > 0 && (
        <fieldset className="grid gap-2 sm:grid-cols-2 lg:grid-cols-4">
          <legend className="mb-1.5 text-sm font-medium">Where it fits now, with what the first hour costs in all</legend>
          {kinds.map((one) => (
            <label key={one.gpu_name} className={cn("flex cursor-pointer items-start gap-2 rounded-md border px-3 py-2 text-sm", one.gpu_name === gpu ? "border-primary bg-muted/50" : "hover:bg-muted/40")}>
              <input type="radio" name="model-gpu" className="mt-0.5 size-4 shrink-0 accent-primary max-sm:size-6" checked={one.gpu_name === gpu} onChange={() => onGpu(one.gpu_name)} />
              <span className="grid min-w-0">
                <span className="font-medium">
                  {one.gpu_count}× {one.gpu_name}
                </span>
                <span className="text-xs text-muted-foreground tabular-nums">
                  {one.vram_gb.toFixed(0)} GB each, from {usdPerHour(one.price.total)}
                </span>
              </span>
            </label>
          ))}
          <label className={cn("flex cursor-pointer items-start gap-2 rounded-md border px-3 py-2 text-sm sm:col-span-2 lg:col-span-4", gpu === "" ? "border-primary bg-muted/50" : "hover:bg-muted/40")}>
            <input type="radio" name="model-gpu" className="mt-0.5 size-4 shrink-0 accent-primary max-sm:size-6" checked={gpu === ""} onChange={() => onGpu("")} />
            Whichever is cheapest when it starts
          </label>
        </fieldset>
      )}
    </div>
  );
}

const START = { model: "", runtime: "vllm", quantization: "", context: 8192, sleep: 15, name: "", replicas: 1, price: "", token: "", gpu: "" };

export function DeployForm({ runtimes, onMade }: { runtimes: readonly RuntimeView[]; onMade: (made: NewDeploymentView) => void }) {
  const [deploy, { error, isLoading }] = useDeployModelMutation();
  const [seen, setSeen] = useState<NewDeploymentView | null>(null);
  const [form, setForm] = useState(START);
  const set = (change: Partial<typeof form>) => {
    setSeen(null);
    setForm((old) => ({ ...old, ...change }));
  };
  const runtime = runtimes.find((one) => one.name === form.runtime);
  const body: DeployBody = {
    model: form.model,
    runtime: form.runtime,
    quantization: (form.quantization || null) as DeployBody["quantization"],
    context: form.context,
    idle_after_s: form.sleep * 60,
    ...(form.name && { name: form.name }),
    ...(form.replicas !== 1 && { replicas: form.replicas }),
    ...(form.price && { max_usd_per_hour: form.price }),
    ...(form.token && { hub_token: form.token }),
    ...(form.gpu && { gpu_name: form.gpu }),
  };
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (!seen) {
      const answer = await deploy({ deployBody: { ...body, gpu_name: null, preview: true } });
      if (answer.data) setSeen(answer.data.data);
      return;
    }
    const answer = await deploy({ deployBody: body, "Idempotency-Key": crypto.randomUUID() });
    if (!answer.data) return;
    onMade(answer.data.data);
    setForm({ ...START, runtime: form.runtime });
    setSeen(null);
  };
  return (
    <form onSubmit={submit} className="grid gap-4" aria-label="Deploy a model">
      <div className="grid gap-3 sm:grid-cols-2 lg:grid-cols-[2fr_1fr_1fr_1fr]">
        <Field label="Model" hint="As its hub names it.">
          <Input required placeholder="Qwen/Qwen2.5-7B-Instruct" value={form.model} onChange={(e) => set({ model: e.target.value.trim(), gpu: "" })} />
        </Field>
        <Field label="Runtime">
          <Select value={form.runtime} onChange={(e) => set({ runtime: e.target.value, quantization: "", gpu: "" })}>
            {runtimes.map((one) => (
              <option key={one.name}>{one.name}</option>
            ))}
          </Select>
        </Field>
        <Field label="Quantization">
          <Select value={form.quantization} onChange={(e) => set({ quantization: e.target.value, gpu: "" })}>
            <option value="">as the runtime likes</option>
            {(runtime?.quantizations ?? []).map((name) => (
              <option key={name}>{name}</option>
            ))}
          </Select>
        </Field>
        <Field label="Context, tokens">
          <Input type="number" min={256} max={1_000_000} value={form.context} onChange={(e) => set({ context: Number(e.target.value) || 8192, gpu: "" })} />
        </Field>
      </div>
      <details>
        <summary className="text-sm font-medium">More: name, sleep, replicas, price, hub token</summary>
        <div className="mt-3 grid gap-3 sm:grid-cols-2 lg:grid-cols-5">
          <Field label="Name" hint="Empty: one is made up.">
            <Input pattern="[a-z0-9]([a-z0-9\-]{0,61}[a-z0-9])?" title="Small letters, digits and dashes" value={form.name} onChange={(e) => set({ name: e.target.value })} />
          </Field>
          <Field label="Sleep after idle minutes" hint="0: never.">
            <Input type="number" min={0} max={10_080} value={form.sleep} onChange={(e) => set({ sleep: Math.max(0, Number(e.target.value) || 0) })} />
          </Field>
          <Field label="Replicas" hint="Servers behind the one endpoint.">
            <Input type="number" min={1} max={8} value={form.replicas} onChange={(e) => set({ replicas: Math.max(1, Number(e.target.value) || 1) })} />
          </Field>
          <Field label="At most, $ an hour each" hint="Empty: the cheapest there is.">
            <Input inputMode="decimal" pattern="[0-9]*\.?[0-9]+" value={form.price} onChange={(e) => set({ price: e.target.value })} />
          </Field>
          <Field label="Hub token" hint="For gated models.">
            <Input type="password" autoComplete="off" value={form.token} onChange={(e) => set({ token: e.target.value })} />
          </Field>
        </div>
      </details>
      {error && <ErrorPanel error={error} />}
      {seen?.fit && (
        <div role="status" className="grid gap-3 rounded-md border bg-muted/30 p-3">
          <p className="text-sm">{seen.fit.why}.</p>
          {seen.fit.total_gb > 0 && <Where fit={seen.fit} price={form.price} gpu={form.gpu} onGpu={(gpu) => setForm((old) => ({ ...old, gpu }))} />}
        </div>
      )}
      <Button type="submit" variant={seen ? "default" : "outline"} className="justify-self-start" disabled={isLoading}>
        {isLoading ? "Asking…" : seen ? "Deploy it" : "What does it need?"}
      </Button>
    </form>
  );
}
