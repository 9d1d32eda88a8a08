/** How a model lies in a GPU's memory: weights, KV cache, what the server needs, what is left. */
import type { FitView } from "@/api";
import { cn } from "@/lib/cn";

const gb = (value: number): string => `${value.toFixed(1)} GB`;

/** `vramGb`: of one GPU, where it is known which; else what each must have at least. */
export function Fit({ fit, vramGb, on }: { fit: FitView; vramGb?: number; on?: string }) {
  if (fit.gpu_count === 0 || fit.total_gb === 0) return <p className="text-sm text-muted-foreground">{fit.why}.</p>;
  const each = Math.max(vramGb ?? fit.vram_gb, fit.total_gb / fit.gpu_count);
  const parts = (
    [
      ["Weights", fit.weights_gb, "bg-primary"],
      ["KV cache", fit.kv_gb, "bg-info"],
      ["Overhead", fit.overhead_gb, "bg-muted-foreground/60"],
    ] as const
  ).map(([label, all, colour]) => ({ label, gb: all / fit.gpu_count, colour }));
  const free = each - parts.reduce((sum, one) => sum + one.gb, 0);
  const legend = [...parts, { label: "Free", gb: free, colour: "bg-muted border" }];
  return (
    <figure className="grid gap-2 text-sm">
      <figcaption className="flex flex-wrap justify-between gap-x-4">
        <span className="font-medium">
          {fit.gpu_count > 1 ? `Each of ${fit.gpu_count} GPUs` : "The GPU"}
          {on && `: ${on}`}
        </span>
        <span className="text-muted-foreground tabular-nums">
          {gb(each - free)} of {gb(each)}
        </span>
      </figcaption>
      <div role="img" aria-label={`On each GPU of ${gb(each)}: ${legend.map((one) => `${one.label.toLowerCase()} ${gb(one.gb)}`).join(", ")}`} className="flex h-3 overflow-hidden rounded-full bg-muted">
        {parts.map((one) => (
          <span key={one.label} className={one.colour} style={{ width: `${(one.gb / each) * 100}%` }} />
        ))}
      </div>
      <ul aria-hidden className="flex flex-wrap gap-x-4 gap-y-1 text-xs">
        {legend.map((one) => (
          <li key={one.label} className="flex items-center gap-1.5">
            <span className={cn("size-2 rounded-full", one.colour)} />
            <span className="text-muted-foreground">{one.label}</span>
            <span className="tabular-nums">{gb(one.gb)}</span>
          </li>
        ))}
      </ul>
    </figure>
  );
}
