/** The form of the deploy page, and what it is as a request and as a command. */
import type { ProvisionRequest } from "@/api";
import { linesOf } from "@/lib/format";

export interface Form {
  name: string;
  gpu: string;
  count: number;
  vram: number;
  disk: number;
  maxPrice: string;
  strategy: NonNullable<ProvisionRequest["strategy"]>;
  width: number;
  interruptible: boolean;
  providers: NonNullable<ProvisionRequest["providers"]>;
  region: string;
  idleMinutes: number;
  image: string;
  setup: string;
  minReliability: number;
  headroom: number;
  snapshotMinutes: number;
  onLoss: "wake" | "hibernate";
  /** Lines of KEY=VALUE. */
  env: string;
  /** Numbers, with spaces or commas between. */
  ports: string;
  /** Lines of patterns, as in .gitignore. */
  excludes: string;
  /** Where its snapshots go; empty: the default bucket. */
  storage: string;
}

export const START: Form = {
  name: "",
  gpu: "RTX 4090",
  count: 1,
  vram: 0,
  disk: 20,
  maxPrice: "",
  strategy: "race",
  width: 5,
  interruptible: false,
  providers: [],
  region: "",
  idleMinutes: 3,
  image: "",
  setup: "",
  minReliability: 90,
  headroom: 10,
  snapshotMinutes: 0,
  onLoss: "wake",
  env: "",
  ports: "",
  excludes: "",
  storage: "",
};

export const portsOf = (text: string): number[] =>
  text
    .split(/[\s,]+/)
    .map(Number)
    .filter((port) => Number.isInteger(port) && port > 0);

export const envOf = (text: string): Record<string, string> =>
  Object.fromEntries(
    linesOf(text)
      .map((line) => line.split("="))
      .map(([key, ...value]) => [key!.trim(), value.join("=")]),
  );

/** Only what differs from the API's own defaults, so that the shown JSON is short. */
export function requestOf(form: Form): ProvisionRequest {
  return {
    ...(form.name && { name: form.name }),
    ...(form.gpu && { gpu_name: form.gpu }),
    ...(form.count !== 1 && { gpu_count: form.count }),
    ...(form.vram > 0 && { min_vram_gb: form.vram }),
    ...(form.disk !== 20 && { disk_gib: form.disk }),
    ...(form.maxPrice && { max_usd_per_hour: form.maxPrice }),
    ...(form.region && { regions: [form.region.toUpperCase()] }),
    ...(form.providers.length > 0 && { providers: form.providers }),
    ...(form.image && { image: form.image }),
    ...(form.setup && { setup: form.setup }),
    strategy: form.strategy,
    ...(form.strategy === "race" && form.width !== 5 && { width: form.width }),
    ...(form.interruptible && { interruptible: true }),
    ...(form.interruptible && form.headroom !== 10 && { bid_headroom: form.headroom / 100 }),
    ...(form.minReliability !== 90 && { min_reliability: form.minReliability / 100 }),
    ...(form.snapshotMinutes > 0 && { snapshot_every_s: form.snapshotMinutes * 60 }),
    ...(form.onLoss !== "wake" && { on_loss: form.onLoss }),
    ...(linesOf(form.env).length > 0 && { env: envOf(form.env) }),
    ...(portsOf(form.ports).length > 0 && { ports: portsOf(form.ports) }),
    ...(linesOf(form.excludes).length > 0 && { excludes: linesOf(form.excludes) }),
    ...(form.storage && { storage: form.storage }),
    ...(form.idleMinutes === 0
      ? { idle_policy: { enabled: false } }
      : form.idleMinutes !== 3 && { idle_policy: { idle_after_s: form.idleMinutes * 60 } }),
  };
}

const quoted = (text: string): string => (/^[\w./:@-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);

/** The same as a command of the CLI. */
export function commandOf(form: Form): string {
  const words = ["dumont provision"];
  const add = (flag: string, value?: string | number) => words.push(value === undefined ? flag : `${flag} ${quoted(String(value))}`);
  if (form.name) add("--name", form.name);
  if (form.gpu) add("--gpu", form.gpu);
  if (form.count !== 1) add("--count", form.count);
  if (form.vram > 0) add("--min-vram", form.vram);
  if (form.disk !== 20) add("--disk", form.disk);
  if (form.maxPrice) add("--max-price", form.maxPrice);
  if (form.region) add("--region", form.region.toUpperCase());
  form.providers.forEach((provider) => add("--provider", provider));
  if (form.image) add("--image", form.image);
  if (form.setup) add("--setup", form.setup);
  add("--strategy", form.strategy);
  if (form.strategy === "race" && form.width !== 5) add("--width", form.width);
  if (form.interruptible) add("--interruptible");
  if (form.interruptible && form.headroom !== 10) add("--bid-headroom", form.headroom / 100);
  if (form.minReliability !== 90) add("--min-reliability", form.minReliability / 100);
  if (form.snapshotMinutes > 0) add("--snapshot-every", `${form.snapshotMinutes}m`);
  if (form.onLoss !== "wake") add("--on-loss", form.onLoss);
  Object.entries(envOf(form.env)).forEach(([key, value]) => add("--env", `${key}=${value}`));
  portsOf(form.ports).forEach((port) => add("--port", port));
  linesOf(form.excludes).forEach((pattern) => add("--exclude", pattern));
  if (form.storage) add("--storage", form.storage);
  if (form.idleMinutes === 0) add("--no-hibernate");
  else if (form.idleMinutes !== 3) add("--idle-after", `${form.idleMinutes}m`);
  return words.join(" ");
}
