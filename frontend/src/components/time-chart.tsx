/** A measure over time, with a threshold, shaded spans and a band between two lines. Colours are asked for at every drawing: the theme may change. */
import { useEffect, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { peaks } from "@/lib/peaks";

const colour = (name: string): string => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const faint = (name: string, share: number): string => `color-mix(in oklch, ${colour(name)} ${share}%, transparent)`;

export interface Line {
  label: string;
  values: readonly (number | null)[];
  /** A custom property of the theme. */
  colour: string;
  width?: number;
}

export interface TimeChartProps {
  /** What it shows, in words, for who cannot see it. */
  summary: string;
  /** Seconds since 1970, rising. */
  times: readonly number[];
  lines: readonly Line[];
  from: number;
  to: number;
  show: (value: number) => string;
  /** The top of the scale; the highest value when left out. */
  top?: number;
  /** Where the scale begins: at nothing, or a little below the lowest value. */
  bottom?: "zero" | "lowest";
  /** Fills between the first line and the last. */
  band?: boolean;
  threshold?: number;
  shaded?: readonly { from: number; to: number }[];
  height?: number;
}

/** Draws the data at once, without waiting for what else the page has to do, and tells how long it took. */
function fill(chart: uPlot, { times, lines, from, to }: Pick<TimeChartProps, "times" | "lines" | "from" | "to">): void {
  const start = performance.now();
  const rows = peaks(times, lines.map((line) => line.values), from, to, chart.width);
  chart.batch(() => chart.setData(rows));
  performance.measure("chart", { start, detail: { points: times.length } });
}

export function TimeChart({ summary, times, lines, from, to, show, top, threshold, shaded, bottom = "zero", band = false, height = 150 }: TimeChartProps) {
  const box = useRef<HTMLDivElement>(null);
  // What is drawn may be newer than the chart: it is read when drawing, and a chart is not made anew for each answer.
  const latest = useRef({ show, top, threshold, shaded, from, to, bottom, times, lines });
  latest.current = { show, top, threshold, shaded, from, to, bottom, times, lines };
  const drawn = useRef<uPlot | null>(null);
  const kinds = lines.map((line) => `${line.label}|${line.colour}|${line.width ?? 2}`).join(";");

  useEffect(() => {
    const place = box.current;
    if (!place) return;
    const axis = { stroke: () => colour("--muted-foreground"), grid: { stroke: () => colour("--border"), width: 1 }, ticks: { show: false } };
    const chart = new uPlot(
      {
        width: place.clientWidth,
        height,
        series: [
          {},
          ...kinds.split(";").map((kind) => {
            const [label, name, width] = kind.split("|") as [string, string, string];
            return {
              label,
              stroke: () => colour(name),
              width: Number(width),
              points: { show: false },
              value: (_: uPlot, v: number | null) => (v === null ? "–" : latest.current.show(v)),
            };
          }),
        ],
        bands: band ? [{ series: [kinds.split(";").length, 1], fill: () => faint("--info", 15) }] : [],
        axes: [{ ...axis, size: 40 }, { ...axis, size: 72, values: (_, ticks) => ticks.map((v) => latest.current.show(v)) }],
        scales: {
          x: { range: () => [latest.current.from, latest.current.to] },
          y: {
            range: (_, low, high) =>
              latest.current.bottom === "lowest"
                ? [Math.max(0, (low ?? 0) * 0.9), (high ?? 1) * 1.1]
                : [0, latest.current.top ?? Math.max(1, (high ?? 0) * 1.1)],
          },
        },
        hooks: {
          // The legend tells values, and without a pointer over the chart there are none.
          setCursor: [(one) => one.root.classList.toggle("u-still", typeof one.cursor.idx !== "number")],
          drawClear: [
            (one) => {
              const { left, top: above, width, height: tall } = one.bbox;
              one.ctx.save();
              one.ctx.fillStyle = faint("--info", 16);
              for (const span of latest.current.shaded ?? []) {
                const start = Math.max(left, one.valToPos(span.from, "x", true));
                const end = Math.min(left + width, one.valToPos(span.to, "x", true));
                if (end > start) one.ctx.fillRect(start, above, end - start, tall);
              }
              one.ctx.restore();
            },
          ],
          draw: [
            (one) => {
              const limit = latest.current.threshold;
              if (limit === undefined) return;
              const y = one.valToPos(limit, "y", true);
              one.ctx.save();
              one.ctx.strokeStyle = colour("--warn");
              one.ctx.setLineDash([6, 4]);
              one.ctx.lineWidth = 2;
              one.ctx.beginPath();
              one.ctx.moveTo(one.bbox.left, y);
              one.ctx.lineTo(one.bbox.left + one.bbox.width, y);
              one.ctx.stroke();
              one.ctx.restore();
            },
          ],
        },
      },
      [[], ...kinds.split(";").map(() => [])],
      place,
    );
    chart.root.classList.add("u-still");
    drawn.current = chart;
    let wide = place.clientWidth;
    const watch = new ResizeObserver(() => {
      if (place.clientWidth === wide) return;
      wide = place.clientWidth;
      chart.setSize({ width: wide, height });
      fill(chart, latest.current);
    });
    watch.observe(place);
    const theme = new MutationObserver(() => chart.redraw());
    theme.observe(document.documentElement, { attributeFilter: ["class"] });
    return () => {
      watch.disconnect();
      theme.disconnect();
      chart.destroy();
      drawn.current = null;
    };
  }, [kinds, height, band]);

  useEffect(() => {
    if (drawn.current) fill(drawn.current, latest.current);
  }, [times, lines, shaded, from, to, kinds, height, band]);

  return <div ref={box} role="img" aria-label={summary} />;
}
