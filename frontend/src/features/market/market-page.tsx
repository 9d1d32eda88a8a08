import { useState } from "react";
import { Link } from "react-router";
import { useBlockMachineMutation, useListOffersQuery, type ListOffersApiArg, type OfferView } from "@/api";
import { PACE } from "@/api/hooks";
import { DataTable, type Column } from "@/components/data-table";
import { Price, Record } from "@/components/price";
import { Empty, ErrorPanel, Freshness, Loading } from "@/components/states";
import { tell } from "@/components/tell";
import { Button } from "@/components/ui/button";
import { Check, Field, Input, Select } from "@/components/ui/field";
import { Trends } from "@/features/market/trends";
import { paths } from "@/lib/paths";
import { useDebounced } from "@/lib/use-debounced";
import { useTitle } from "@/lib/use-title";

function Block({ offer }: { offer: OfferView }) {
  const [block] = useBlockMachineMutation();
  const machine = `${offer.provider}-${offer.machine_id.replaceAll("/", "_")}`;
  return (
    <Button
      size="sm"
      variant="ghost"
      aria-label={`Block machine ${machine}`}
      onClick={() => void tell(`${machine} will not be asked for you`, block({ machine, blockBody: { why: "blocked in the market" } }).unwrap())}
    >
      Block
    </Button>
  );
}

const COLUMNS: Column<OfferView>[] = [
  { key: "gpu", head: "GPU", sort: (one) => one.gpu_name, cell: (one) => `${one.gpu_count}× ${one.gpu_name}` },
  { key: "vram", head: "VRAM", right: true, sort: (one) => one.vram_gb, cell: (one) => `${one.vram_gb.toFixed(0)} GB` },
  { key: "where", head: "Where", sort: (one) => `${one.provider} ${one.region}`, cell: (one) => `${one.provider} ${one.region}` },
  { key: "told", head: "Says", right: true, sort: (one) => one.reliability, cell: (one) => `${(one.reliability * 100).toFixed(1)} %` },
  {
    key: "record",
    head: "Became ready",
    sort: (one) => one.rate ?? -1,
    cell: (one) => <Record rate={one.rate} counted={one.counted} bootS={one.boot_p50_s} />,
  },
  { key: "down", head: "Down", right: true, sort: (one) => one.down_mbit, cell: (one) => `${one.down_mbit.toFixed(0)} Mbit/s` },
  { key: "price", head: "First hour", right: true, sort: (one) => Number(one.price.total), cell: (one) => <Price price={one.price} /> },
  {
    key: "fit",
    head: "Note",
    cell: (one) => (one.why_not ? <span className="text-xs text-warn">{one.why_not}</span> : <Block offer={one} />),
  },
];

export function MarketPage() {
  useTitle("Market");
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
      <div className="flex flex-wrap items-center justify-between gap-3">
        <h1 className="text-xl font-semibold">Market</h1>
        <Freshness at={fulfilledTimeStamp} failed={isError} />
      </div>
      <Trends />
      <h2 className="text-sm font-semibold">Offers</h2>
      <p className="text-sm text-muted-foreground">
        What could be rented now, cheapest first hour in all: GPU, disk, transfer of the image, and what failed tries are expected to cost.
      </p>
      <div className="flex flex-wrap items-end gap-4">
        <Field label="GPU">
          <Input placeholder="RTX 4090" value={gpu} onChange={(e) => setGpu(e.target.value)} />
        </Field>
        <Field label="Provider">
          <Select value={provider} onChange={(e) => setProvider(e.target.value)}>
            <option value="">all</option>
            <option value="vast">vast</option>
            <option value="tensordock">tensordock</option>
            <option value="gce">gce</option>
          </Select>
        </Field>
        <Check label="Interruptible" checked={interruptible} onChange={(e) => setInterruptible(e.target.checked)} />
        <Check label="With those that do not fit" checked={all} onChange={(e) => setAll(e.target.checked)} />
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
        <>
          <p className="text-sm">
            {data?.data.fitting} fit. <Link className="underline" to={paths.deploy}>Deploy</Link>
          </p>
          <DataTable label="Offers" rows={offers} columns={COLUMNS} rowKey={(one) => `${one.provider} ${one.offer_id}`} />
        </>
      )}
    </div>
  );
}
