/** What the machine did: GPU, memory, network over time, with the idle threshold and the sleep between. */
import { useMemo, useState } from "react";
import { useShowMetricsQuery, type InstanceView, type MetricsView } from "@/api";
import { PACE } from "@/api/hooks";
import { ErrorPanel, Loading } from "@/components/states";
import { TimeChart } from "@/components/time-chart";
import { Button } from "@/components/ui/button";
import { Select } from "@/components/ui/field";
import { percent, span } from "@/lib/format";

const RANGES: [string, number][] = [
  ["1 hour", 3600],
  ["6 hours", 6 * 3600],
  ["1 day", 86_400],
  ["7 days", 7 * 86_400],
];

type Point = MetricsView["points"][number];

const seconds = (at: string): number => Date.parse(at) / 1000;
const gib = (mb: number | null): number | null => (mb === null ? null : mb / 1024);
const mean = (values: (number | null)[]): number | null => {
  const known = values.filter((one): one is number => one !== null);
  return known.length ? known.reduce((a, b) => a + b, 0) / known.length : null;
};
const or = (value: number | null, show: (value: number) => string): string => (value === null ? "–" : show(value));

const asPercent = (v: number): string => percent(v / 100);
const asGib = (v: number): string => `${v.toFixed(1)} GiB`;
const asMbit = (v: number): string => `${v.toFixed(v < 10 ? 1 : 0)} Mbit/s`;

/** Times and values; where nothing was measured for a while the line breaks instead of claiming a slope. */
function columns(points: readonly Point[], stepS: number) {
  const times: number[] = [];
  const rows: (Point | null)[] = [];
  for (const point of points) {
    const at = seconds(point.at);
    const before = times.at(-1);
    if (before !== undefined && at - before > stepS * 2.5) {
      times.push(before + stepS);
      rows.push(null);
    }
    times.push(at);
    rows.push(point);
  }
  return { times, rows };
}

function Charts({ metrics }: { metrics: MetricsView }) {
  const drawn = useMemo(() => {
    const { times, rows } = columns(metrics.points, metrics.step_s);
    return {
      times,
      gpu: [{ label: "Busiest GPU", colour: "--primary", values: rows.map((one) => one?.gpu ?? null) }],
      vram: [{ label: "Used", colour: "--primary", values: rows.map((one) => gib(one?.vram_mb ?? null)) }],
      network: [{ label: "Network", colour: "--primary", values: rows.map((one) => one?.network_mbit ?? null) }],
      vramTop: Math.max(1, ...metrics.points.map((one) => gib(one.vram_total_mb) ?? 0)),
      measured: metrics.points.some((one) => one.network_mbit !== null),
      shaded: metrics.asleep.map((one) => ({ from: seconds(one.since), to: seconds(one.until) })),
    };
  }, [metrics]);
  const common = { times: drawn.times, from: seconds(metrics.since), to: seconds(metrics.until), shaded: drawn.shaded };
  const asleep = drawn.shaded.reduce((sum, one) => sum + one.to - one.from, 0);
  const sleep = asleep > 0 ? `; asleep for ${span(asleep)}` : "";
  const gpu = mean(metrics.points.map((one) => one.gpu));
  const peak = metrics.points.reduce<number | null>((most, one) => (one.gpu_peak === null ? most : Math.max(most ?? 0, one.gpu_peak)), null);
  return (
    <div className="grid gap-4">
      <figure className="grid gap-1">
        <figcaption className="text-xs text-muted-foreground">
          GPU: {or(gpu, asPercent)} on average while awake, {or(peak, asPercent)} at most
        </figcaption>
        <TimeChart
          {...common}
          lines={drawn.gpu}
          top={100}
          threshold={metrics.idle_gpu_percent}
          show={asPercent}
          summary={`GPU utilisation: ${metrics.points.length} points, average ${or(gpu, asPercent)}, peak ${or(peak, asPercent)}, idle below ${asPercent(metrics.idle_gpu_percent)}${sleep}`}
        />
      </figure>
      <figure className="grid gap-1">
        <figcaption className="text-xs text-muted-foreground">GPU memory of {asGib(drawn.vramTop)}</figcaption>
        <TimeChart
          {...common}
          lines={drawn.vram}
          top={drawn.vramTop}
          show={asGib}
          summary={`GPU memory: average ${or(gib(mean(metrics.points.map((one) => one.vram_mb))), asGib)} of ${asGib(drawn.vramTop)}${sleep}`}
        />
      </figure>
      {drawn.measured ? (
        <figure className="grid gap-1">
          <figcaption className="text-xs text-muted-foreground">Network, both ways</figcaption>
          <TimeChart
            {...common}
            lines={drawn.network}
            show={asMbit}
            summary={`Network: average ${or(mean(metrics.points.map((one) => one.network_mbit)), asMbit)}${sleep}`}
          />
        </figure>
      ) : (
        <p className="text-xs text-muted-foreground">Network is not measured on a host that is shared with others.</p>
      )}
      <p className="text-xs text-muted-foreground">
        Dashed: below {asPercent(metrics.idle_gpu_percent)} it counts as idle. Shaded: asleep, only the snapshot costs money.
      </p>
    </div>
  );
}

function Table({ metrics }: { metrics: MetricsView }) {
  return (
    <div className="max-h-96 overflow-auto" tabIndex={0} role="region" aria-label="Measurements">
      <table className="w-full text-sm tabular-nums">
        <thead>
          <tr className="text-left text-xs text-muted-foreground">
            <th scope="col" className="pr-3">When</th>
            <th scope="col" className="pr-3">GPU</th>
            <th scope="col" className="pr-3">Peak</th>
            <th scope="col" className="pr-3">GPU memory</th>
            <th scope="col">Network</th>
          </tr>
        </thead>
        <tbody>
          {[...metrics.points].reverse().map((one) => (
            <tr key={one.at}>
              <td className="pr-3">{new Date(one.at).toLocaleString()}</td>
              <td className="pr-3">{or(one.gpu, asPercent)}</td>
              <td className="pr-3">{or(one.gpu_peak, asPercent)}</td>
              <td className="pr-3">{or(gib(one.vram_mb), asGib)}</td>
              <td>{or(one.network_mbit, asMbit)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {metrics.asleep.map((one) => (
        <p key={one.since} className="pt-2 text-sm">
          Asleep from {new Date(one.since).toLocaleString()} to {new Date(one.until).toLocaleString()}
        </p>
      ))}
    </div>
  );
}

export function Metrics({ instance, live }: { instance: InstanceView; live: boolean }) {
  const [range, setRange] = useState(3600);
  const [table, setTable] = useState(false);
  // The range ends when it is chosen or the state changes, not at every drawing: an address that changes each second is never cached.
  const since = useMemo(() => {
    void instance.state;
    return new Date(Date.now() - range * 1000).toISOString();
  }, [range, instance.state]);
  const { data, error, isLoading, refetch } = useShowMetricsQuery(
    { instance: instance.id, since },
    { pollingInterval: live ? PACE.detail : 0, skipPollingIfUnfocused: true },
  );
  if (isLoading) {
    return (
      <div className="h-[26rem]">
        <Loading label="Loading the measurements" />
      </div>
    );
  }
  if (error && !data) return <ErrorPanel error={error} retry={refetch} />;
  const metrics = data?.data;
  return (
    <div className="grid gap-3">
      <div className="flex flex-wrap items-center justify-between gap-2">
        <Select aria-label="Range" className="w-auto" value={range} onChange={(event) => setRange(Number(event.target.value))}>
          {RANGES.map(([label, value]) => (
            <option key={value} value={value}>
              {label}
            </option>
          ))}
        </Select>
        <Button variant="ghost" size="sm" onClick={() => setTable(!table)}>
          {table ? "As charts" : "As a table"}
        </Button>
      </div>
      {!metrics || (metrics.points.length === 0 && metrics.asleep.length === 0) ? (
        <p className="grid min-h-44 place-items-center rounded-md border border-dashed p-6 text-center text-sm text-muted-foreground">
          Nothing was measured in this time. A running machine tells every minute.
        </p>
      ) : table ? (
        <Table metrics={metrics} />
      ) : (
        <Charts metrics={metrics} />
      )}
    </div>
  );
}
