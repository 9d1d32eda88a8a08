/** A price band over time: P10 to P90 with the median. The same as a table for who cannot see it. */
import { useEffect, useRef, useState } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import type { PointView } from "@/api";
import { Button } from "@/components/ui/button";
import { usdPerHour } from "@/lib/format";

const colour = (name: string): string => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export function BandChart({ points, label }: { points: readonly PointView[]; label: string }) {
  const box = useRef<HTMLDivElement>(null);
  const [table, setTable] = useState(false);
  useEffect(() => {
    const place = box.current;
    if (!place || table) return;
    // Colours are asked for at every drawing: the theme may change under an open chart.
    const axis = { stroke: () => colour("--muted-foreground"), grid: { stroke: () => colour("--border"), width: 1 } };
    const chart = new uPlot(
      {
        width: place.clientWidth,
        height: 240,
        series: [
          {},
          { label: "P10", stroke: () => colour("--info"), width: 1, value: (_, v) => (v === null ? "–" : usdPerHour(v)) },
          { label: "Median", stroke: () => colour("--primary"), width: 2, value: (_, v) => (v === null ? "–" : usdPerHour(v)) },
          { label: "P90", stroke: () => colour("--info"), width: 1, value: (_, v) => (v === null ? "–" : usdPerHour(v)) },
        ],
        bands: [{ series: [3, 1], fill: () => `color-mix(in oklch, ${colour("--info")} 15%, transparent)` }],
        axes: [axis, { ...axis, size: 64, values: (_, ticks) => ticks.map((v) => `$${v.toFixed(2)}`) }],
        scales: { y: { range: (_, low, high) => [Math.max(0, low * 0.9), high * 1.1] } },
      },
      [
        points.map((p) => Date.parse(p.at) / 1000),
        points.map((p) => p.p10),
        points.map((p) => p.median),
        points.map((p) => p.p90),
      ],
      place,
    );
    const watch = new ResizeObserver(() => chart.setSize({ width: place.clientWidth, height: 240 }));
    watch.observe(place);
    const theme = new MutationObserver(() => chart.redraw());
    theme.observe(document.documentElement, { attributeFilter: ["class"] });
    return () => {
      watch.disconnect();
      theme.disconnect();
      chart.destroy();
    };
  }, [points, table]);
  const last = points.at(-1);
  return (
    <div className="grid gap-2">
      {table ? (
        <div className="max-h-64 overflow-auto" tabIndex={0} role="region" aria-label={label}>
          <table className="w-full text-sm tabular-nums">
            <thead>
              <tr className="text-left text-xs text-muted-foreground">
                <th scope="col">When</th>
                <th scope="col">P10</th>
                <th scope="col">Median</th>
                <th scope="col">P90</th>
                <th scope="col">GPUs</th>
              </tr>
            </thead>
            <tbody>
              {points.map((p) => (
                <tr key={p.at}>
                  <td>{new Date(p.at).toLocaleString()}</td>
                  <td>{usdPerHour(p.p10)}</td>
                  <td>{usdPerHour(p.median)}</td>
                  <td>{usdPerHour(p.p90)}</td>
                  <td>{p.offers.toFixed(0)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      ) : (
        <div
          ref={box}
          role="img"
          aria-label={`${label}: ${points.length} points${last ? `, newest median ${usdPerHour(last.median)}, from ${usdPerHour(last.p10)} to ${usdPerHour(last.p90)}` : ""}`}
        />
      )}
      <Button variant="ghost" size="sm" className="justify-self-start" onClick={() => setTable(!table)}>
        {table ? "As a chart" : "As a table"}
      </Button>
    </div>
  );
}
