/** What a GPU costs over time, what it costs now in all, and who is told when it falls. */
import { lazy, useState } from "react";
import { Link } from "react-router";
import { type BidView, type MarketView, useShowMarketQuery } from "@/api";
import { PACE } from "@/api/hooks";
import { Part } from "@/components/part";
import { partsOf } from "@/components/price";
import { Stat, Stats } from "@/components/stat";
import { ErrorPanel, Loading } from "@/components/states";
import { Card, CardTitle } from "@/components/ui/card";
import { Check, Select } from "@/components/ui/field";
import { Alerts } from "@/features/market/alerts";
import { usdPerHour } from "@/lib/format";
import { paths } from "@/lib/paths";

const BandChart = lazy(async () => ({ default: (await import("@/features/market/band-chart")).BandChart }));

function Bids({ bids }: { bids: BidView[] }) {
  return (
    <div className="overflow-x-auto" tabIndex={0} role="region" aria-label="How bids went">
      <table className="w-full text-left text-sm tabular-nums">
        <thead className="text-xs text-muted-foreground">
          <tr>
            <th className="font-normal">Bid</th>
            <th className="font-normal">Hours seen</th>
            <th className="font-normal">Taken away</th>
            <th className="font-normal">Per useful hour</th>
          </tr>
        </thead>
        <tbody>
          {bids.map((bid) => (
            <tr key={bid.headroom}>
              <td>+{(bid.headroom * 100).toFixed(0)} %</td>
              <td>{bid.hours.toFixed(0)}</td>
              <td>
                {bid.interruptions.toFixed(0)}, {bid.interruptions_a_day.toFixed(1)} a day
              </td>
              <td>{usdPerHour(bid.usd_per_useful_hour)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Figures({ found }: { found: MarketView }) {
  const { now, trend, cheapest } = found;
  return (
    <Stats>
      <Stat label="Median now" value={now ? usdPerHour(now.median) : "–"}>
        {now ? `P10 ${usdPerHour(now.p10)}, P90 ${usdPerHour(now.p90)}` : "not sampled yet"}
      </Stat>
      <Stat label="On offer" value={now ? `${now.offers.toFixed(0)} GPUs` : "–"}>
        {trend ? `${trend.percent_a_day > 0 ? "+" : ""}${trend.percent_a_day.toFixed(1)} ± ${trend.error.toFixed(1)} % a day` : "too little data for a trend"}
      </Stat>
      <Stat label="Cheapest in all" value={cheapest ? usdPerHour(cheapest.price.total) : "–"}>
        {cheapest ? `${cheapest.provider} ${cheapest.region}: ${partsOf(cheapest.price)}` : found.cheapest_note}
      </Stat>
      <Stat label="Against on demand" value={found.below_reference_percent === null ? "–" : `${found.below_reference_percent.toFixed(0)} % below`} tone={(found.below_reference_percent ?? 0) > 0 ? "good" : undefined}>
        {found.reference_usd_per_gpu_hour === null ? "no reference price" : `${usdPerHour(found.reference_usd_per_gpu_hour)}, ${found.reference ?? ""}`}
      </Stat>
    </Stats>
  );
}

export function Trends({ gpu, onGpu }: { gpu: string; onGpu: (gpu: string) => void }) {
  const [days, setDays] = useState<"1" | "7" | "30">("1");
  const [spot, setSpot] = useState(false);
  const { data, error, isLoading, refetch } = useShowMarketQuery({ gpuName: gpu, days, interruptible: spot }, { pollingInterval: PACE.detail, skipPollingIfUnfocused: true });
  const found = data?.data;
  const yours = found?.yours.filter((one) => one.cheaper_percent >= 5) ?? [];
  return (
    <div className="grid gap-4">
      <div className="flex flex-wrap items-center gap-2">
        <Select aria-label="Which GPU" className="w-auto" value={gpu} onChange={(e) => onGpu(e.target.value)}>
          {[...new Set([gpu, ...(found?.watched ?? [])])].map((name) => (
            <option key={name}>{name}</option>
          ))}
        </Select>
        <Select aria-label="Range" className="w-auto" value={days} onChange={(e) => setDays(e.target.value as typeof days)}>
          <option value="1">24 hours</option>
          <option value="7">7 days</option>
          <option value="30">30 days</option>
        </Select>
        <Check label="Interruptible" checked={spot} onChange={(e) => setSpot(e.target.checked)} />
      </div>
      {isLoading ? (
        // As tall as what comes: the offers below stay where they are.
        <div className="min-h-[56rem] lg:min-h-[30rem]">
          <Loading />
        </div>
      ) : !found ? (
        <ErrorPanel error={error} retry={refetch} />
      ) : (
        <>
          <Figures found={found} />
          <div className="grid items-start gap-4 lg:grid-cols-[minmax(0,2fr)_minmax(0,1fr)]">
            <Card>
              <CardTitle>Price per GPU and hour</CardTitle>
              <div className="grid gap-2 text-sm">
                {found.band.length > 1 ? (
                  <Part waiting={<div className="h-64" />}>
                    <BandChart points={found.band} label={`Price of an ${gpu}`} mine={found.yours[0]?.usd_per_gpu_hour} />
                  </Part>
                ) : (
                  <p className="grid min-h-56 place-items-center rounded-md border border-dashed p-6 text-center text-muted-foreground">
                    A chart needs samples of two hours; a GPU is sampled once somebody watches it, has an alert on it or rents it.
                  </p>
                )}
                <p className="text-xs text-muted-foreground">{found.note}</p>
                {found.bids.length > 0 && <Bids bids={found.bids} />}
                {found.bid_advice && <p>{found.bid_advice}</p>}
                {yours.map((one) => (
                  <p key={one.instance_id}>
                    <Link className="underline" to={paths.instance(one.instance_id)}>
                      {one.name}
                    </Link>{" "}
                    pays {usdPerHour(one.usd_per_gpu_hour)}; the cheapest tenth asks {one.cheaper_percent.toFixed(0)} % less.
                  </p>
                ))}
              </div>
            </Card>
            <Card>
              <CardTitle>Price alerts</CardTitle>
              <Alerts gpu={gpu} suggested={found.now?.p10 ?? null} />
            </Card>
          </div>
        </>
      )}
    </div>
  );
}
