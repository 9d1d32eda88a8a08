import { lazy, useState } from "react";
import { Link } from "react-router";
import { type BidView, useShowMarketQuery } from "@/api";
import { PACE } from "@/api/hooks";
import { Part } from "@/components/part";
import { ErrorPanel, Loading } from "@/components/states";
import { Card, CardTitle } from "@/components/ui/card";
import { Check, Field, Select } from "@/components/ui/field";
import { usdPerHour } from "@/lib/format";
import { paths } from "@/lib/paths";

const BandChart = lazy(async () => ({ default: (await import("@/features/market/band-chart")).BandChart }));

function Bids({ bids }: { bids: BidView[] }) {
  return (
    <table className="w-full max-w-xl text-left tabular-nums">
      <thead className="text-muted-foreground">
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
  );
}

export function Trends() {
  const [gpu, setGpu] = useState("RTX 4090");
  const [days, setDays] = useState<"1" | "7" | "30">("1");
  const [spot, setSpot] = useState(false);
  const { data, error, isLoading, refetch } = useShowMarketQuery({ gpuName: gpu, days, interruptible: spot }, { pollingInterval: PACE.detail, skipPollingIfUnfocused: true });
  const found = data?.data;
  return (
    <Card>
      <CardTitle>Price over time, per GPU</CardTitle>
      <div className="mb-3 flex flex-wrap items-end gap-4">
        <Field label="Which GPU">
          <Select value={gpu} onChange={(e) => setGpu(e.target.value)}>
            {(found?.watched ?? [gpu]).map((name) => (
              <option key={name}>{name}</option>
            ))}
          </Select>
        </Field>
        <Field label="Range">
          <Select value={days} onChange={(e) => setDays(e.target.value as typeof days)}>
            <option value="1">24 hours</option>
            <option value="7">7 days</option>
            <option value="30">30 days</option>
          </Select>
        </Field>
        <Check label="Interruptible offers" checked={spot} onChange={(e) => setSpot(e.target.checked)} />
      </div>
      {isLoading ? (
        <Loading />
      ) : !found ? (
        <ErrorPanel error={error} retry={refetch} />
      ) : (
        <div className="grid gap-3 text-sm">
          {found.now && (
            <p>
              Now <strong className="tabular-nums">{usdPerHour(found.now.median)}</strong> in the median, from {usdPerHour(found.now.low)};{" "}
              {found.now.offers.toFixed(0)} GPUs on offer.
              {found.below_reference_percent !== null && ` ${found.below_reference_percent.toFixed(0)} % below ${usdPerHour(found.reference_usd_per_gpu_hour ?? 0)} (${found.reference}).`}
            </p>
          )}
          {found.band.length > 1 && (
            <Part>
              <BandChart points={found.band} label={`Price of an ${gpu}`} />
            </Part>
          )}
          <p className="text-muted-foreground">{found.note}</p>
          {found.bids.length > 0 && <Bids bids={found.bids} />}
          {found.bid_advice && <p>{found.bid_advice}</p>}
          {found.yours
            .filter((one) => one.cheaper_percent >= 5)
            .map((one) => (
              <p key={one.instance_id}>
                <Link className="underline" to={paths.instance(one.instance_id)}>
                  {one.name}
                </Link>{" "}
                pays {usdPerHour(one.usd_per_gpu_hour)}; the cheapest tenth asks {one.cheaper_percent.toFixed(0)} % less.
              </p>
            ))}
        </div>
      )}
    </Card>
  );
}
