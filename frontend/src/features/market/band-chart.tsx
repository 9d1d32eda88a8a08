/** A price band over time: P10 to P90 with the median. The same as a table for who cannot see it. */
import { useMemo, useState } from "react";
import type { PointView } from "@/api";
import { TimeChart } from "@/components/time-chart";
import { Button } from "@/components/ui/button";
import { When } from "@/components/when";
import { usdPerHour } from "@/lib/format";

export function BandChart({ points, label, mine }: { points: readonly PointView[]; label: string; /** What an instance of yours pays. */ mine?: number }) {
  const [table, setTable] = useState(false);
  const drawn = useMemo(
    () => ({
      times: points.map((p) => Date.parse(p.at) / 1000),
      lines: [
        { label: "P10", colour: "--info", width: 1, values: points.map((p) => p.p10) },
        { label: "Median", colour: "--primary", values: points.map((p) => p.median) },
        { label: "P90", colour: "--info", width: 1, values: points.map((p) => p.p90) },
      ],
    }),
    [points],
  );
  const last = points.at(-1);
  return (
    <div className="grid gap-1">
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
                  <td>
                    <When at={p.at} />
                  </td>
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
        <TimeChart
          {...drawn}
          band
          bottom="lowest"
          threshold={mine}
          height={220}
          from={drawn.times[0] ?? 0}
          to={drawn.times.at(-1) ?? 1}
          show={usdPerHour}
          summary={`${label}: ${points.length} points${last ? `, newest median ${usdPerHour(last.median)}, from ${usdPerHour(last.p10)} to ${usdPerHour(last.p90)}` : ""}`}
        />
      )}
      <div className="flex flex-wrap items-center gap-3 text-xs text-muted-foreground">
        <Button variant="outline" size="xs" onClick={() => setTable(!table)}>
          {table ? "As a chart" : "As a table"}
        </Button>
        Shaded: P10 to P90 of what is asked.{mine !== undefined && ` Dashed: what yours pays, ${usdPerHour(mine)}.`}
      </div>
    </div>
  );
}
