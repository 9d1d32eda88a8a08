import { useState } from "react";
import { Link, useSearchParams } from "react-router";
import { useBlockMachineMutation, useListOffersQuery, type ListOffersApiArg, type OfferView } from "@/api";
import { PACE } from "@/api/hooks";
import { DataTable, type Column } from "@/components/data-table";
import { PageHead } from "@/components/page";
import { Price, Record } from "@/components/price";
import { Empty, ErrorPanel, Freshness, Loading } from "@/components/states";
import { tell } from "@/components/tell";
import { Button } from "@/components/ui/button";
import { Check, Field, Input, Select } from "@/components/ui/field";
import { Trends } from "@/features/market/trends";
import { paths } from "@/lib/paths";
import { useDebounced } from "@/lib/use-debounced";
import { useTitle } from "@/lib/use-title";

const machineOf = (offer: OfferView): string => `${offer.provider}-${offer.machine_id.replaceAll("/", "_")}`;

function Act({ offer }: { offer: OfferView }) {
  const [block] = useBlockMachineMutation();
  const machine = machineOf(offer);
  if (offer.why_not) return <span className="block max-w-56 text-left text-xs whitespace-normal text-warn">{offer.why_not}</span>;
  return (
    <span className="flex justify-end gap-1">
      <Button asChild size="xs" variant="link">
        <Link to={`${paths.deploy}?gpu=${encodeURIComponent(offer.gpu_name)}`} aria-label={`Deploy on an ${offer.gpu_name}`}>
          Deploy
        </Link>
      </Button>
      <Button
        size="xs"
        variant="link"
        className="text-muted-foreground"
        aria-label={`Block machine ${machine}`}
        onClick={() => void tell(`${machine} will not be asked for you`, block({ machine, blockBody: { why: "blocked in the market" } }).unwrap())}
      >
        Block
      </Button>
    </span>
  );
}

const COLUMNS: Column<OfferView>[] = [
  {
    key: "gpu",
    head: "GPU",
    sort: (one) => one.gpu_name,
    cell: (one) => (
      <span className="grid">
        <span className="whitespace-nowrap">
          {one.gpu_count}× {one.gpu_name}
        </span>
        <span className="text-xs font-normal text-muted-foreground">{one.vram_gb.toFixed(0)} GB each</span>
      </span>
    ),
  },
  {
    key: "price",
    head: "First hour in all",
    right: true,
    sort: (one) => Number(one.price.total),
    cell: (one) => <Price price={one.price} />,
  },
  {
    key: "where",
    head: "Where",
    sort: (one) => `${one.provider} ${one.region}`,
    cell: (one) => (
      <span className="grid">
        {one.provider}
        <span className="text-xs text-muted-foreground">{one.region || "region not told"}</span>
      </span>
    ),
  },
  { key: "told", head: "Host says", right: true, sort: (one) => one.reliability, cell: (one) => `${(one.reliability * 100).toFixed(1)} %` },
  {
    key: "record",
    head: "Became ready",
    sort: (one) => one.rate ?? -1,
    cell: (one) => <Record rate={one.rate} counted={one.counted} bootS={one.boot_p50_s} />,
  },
  { key: "down", head: "Down", right: true, sort: (one) => one.down_mbit, cell: (one) => `${one.down_mbit.toFixed(0)} Mbit/s` },
  { key: "act", head: "Actions", card: "end", cell: (one) => <Act offer={one} /> },
];

export function MarketPage() {
  useTitle("Market");
  const [params, setParams] = useSearchParams();
  const watched = params.get("gpu") ?? "RTX 4090";
  const [gpu, setGpu] = useState("");
  const [provider, setProvider] = useState("");
  const [interruptible, setInterruptible] = useState(false);
  const [all, setAll] = useState(false);
  const query: ListOffersApiArg = {
    gpuName: useDebounced(gpu) || undefined,
    provider: (provider || undefined) as ListOffersApiArg["provider"],
    interruptible,
    all,
    limit: 200,
  };
  const { data, error, isLoading, refetch, fulfilledTimeStamp, isError } = useListOffersQuery(query, {
    pollingInterval: PACE.detail,
    skipPollingIfUnfocused: true,
  });
  const offers = data?.data.offers ?? [];
  return (
    <div className="grid gap-4">
      <PageHead title="Market" words="What GPUs cost, and what could be rented now.">
        <Freshness at={fulfilledTimeStamp} failed={isError} />
      </PageHead>
      <Trends gpu={watched} onGpu={(next) => setParams({ gpu: next }, { replace: true })} />
      <section className="grid gap-3" aria-label="Offers now">
        <div className="flex flex-wrap items-end justify-between gap-3">
          <div className="grid min-w-64 flex-1 gap-0.5">
            <h2 className="text-base font-semibold">Offers</h2>
            <p className="text-sm text-muted-foreground">
              {data ? `${data.data.fitting} fit. ` : ""}The first hour’s price in all: GPU, disk, transfer of the image, and what failed tries are expected to cost.
            </p>
          </div>
          <div className="flex flex-wrap items-end gap-3">
            <div className="w-36">
              <Field label="GPU">
                <Input placeholder="any" value={gpu} onChange={(e) => setGpu(e.target.value)} />
              </Field>
            </div>
            <Field label="Provider">
              <Select value={provider} onChange={(e) => setProvider(e.target.value)}>
                <option value="">all</option>
                <option value="vast">vast</option>
                <option value="tensordock">tensordock</option>
                <option value="gce">gce</option>
              </Select>
            </Field>
            <div className="grid gap-1 pb-1">
              <Check label="Interruptible" checked={interruptible} onChange={(e) => setInterruptible(e.target.checked)} />
              <Check label="With those that do not fit" checked={all} onChange={(e) => setAll(e.target.checked)} />
            </div>
          </div>
        </div>
        {data?.data.troubles.map((trouble) => (
          <p key={trouble} role="status" className="text-sm text-warn">
            {trouble}
          </p>
        ))}
        {isLoading ? (
          <Loading label="Asking the providers" />
        ) : error && !data ? (
          <ErrorPanel error={error} retry={refetch} />
        ) : offers.length === 0 ? (
          <Empty title="Nothing matches">
            <Button
              variant="outline"
              onClick={() => {
                setGpu("");
                setProvider("");
                setInterruptible(false);
              }}
            >
              Clear the filters
            </Button>
          </Empty>
        ) : (
          <DataTable label="Offers" rows={offers} columns={COLUMNS} rowKey={(one) => `${one.provider} ${one.offer_id}`} pageSize={25} />
        )}
      </section>
    </div>
  );
}
