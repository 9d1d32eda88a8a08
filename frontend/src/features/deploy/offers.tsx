/** The offers that match the form now; those that would be asked first are marked. */
import { useState } from "react";
import { useListOffersQuery, type ListOffersApiArg, type OfferView } from "@/api";
import { PACE } from "@/api/hooks";
import { partsOf, Record } from "@/components/price";
import { Empty, ErrorPanel, Freshness, Loading } from "@/components/states";
import { Check } from "@/components/ui/field";
import { chanceOf, outlook, type Outlook } from "@/features/deploy/outlook";
import type { Form } from "@/features/deploy/request";
import { cn } from "@/lib/cn";
import { span, usd, usdPerHour } from "@/lib/format";
import { useDebounced } from "@/lib/use-debounced";

export function useOffers(form: Form, all: boolean) {
  const query = useDebounced(
    JSON.stringify({
      gpuName: form.gpu || undefined,
      gpuCount: form.count,
      minVramGb: form.vram,
      diskGib: form.disk,
      maxUsdPerHour: form.maxPrice || undefined,
      minReliability: form.minReliability / 100,
      region: form.region.length === 2 ? form.region.toUpperCase() : undefined,
      provider: form.providers.length === 1 ? form.providers[0] : undefined,
      interruptible: form.interruptible,
      all,
      limit: 30,
    }),
  );
  const found = useListOffersQuery(JSON.parse(query) as ListOffersApiArg, { pollingInterval: PACE.detail, skipPollingIfUnfocused: true });
  const offers = (found.data?.data.offers ?? []).filter((one) => form.providers.length === 0 || (form.providers as string[]).includes(one.provider));
  return { ...found, offers };
}

export function Estimate({ seen }: { seen: Outlook }) {
  return (
    <dl className="grid grid-cols-2 gap-x-4 gap-y-2 text-sm" data-testid="estimate">
      {(
        [
          ["First hour, all in", seen.high > seen.low ? `$${seen.low.toFixed(3)} – ${seen.high.toFixed(3)}/h` : usdPerHour(seen.low), ""],
          [
            "Ready in about",
            seen.readyS === null ? "not known yet" : span(seen.readyS),
            seen.readyS === null ? "none of them was tried before" : `P50 of the soonest; ${seen.known} of ${seen.asked.length} have a history`,
          ],
          ["One becomes ready", chanceOf(seen), `${seen.asked.length} asked at once`],
          ["The others cost", seen.asked.length === 1 ? "nothing" : seen.wastedUsd === null ? "cents" : `about ${usd(seen.wastedUsd)}`, "ended once one is ready"],
        ] as const
      ).map(([label, value, words]) => (
        <div key={label} className="min-w-0">
          <dt className="text-xs text-muted-foreground">{label}</dt>
          <dd className="font-semibold tabular-nums">{value}</dd>
          {words && <dd className="text-xs text-muted-foreground">{words}</dd>}
        </div>
      ))}
    </dl>
  );
}

function Offer({ one, asked }: { one: OfferView; asked: boolean }) {
  return (
    <li className={cn("grid gap-0.5 rounded-md border px-2.5 py-1.5 text-sm", asked && "border-primary/60", one.why_not && "border-dashed")}>
      <span className="flex justify-between gap-3">
        <span className={one.why_not ? "text-muted-foreground" : ""}>
          {one.gpu_count}× {one.gpu_name} · {one.vram_gb.toFixed(0)} GB
          {asked && <span className="ml-2 text-xs font-medium text-primary">asked</span>}
        </span>
        <span className="font-medium tabular-nums">{usdPerHour(one.price.total)}</span>
      </span>
      <span className="text-xs text-muted-foreground tabular-nums">{partsOf(one.price)}</span>
      <span className="flex flex-wrap justify-between gap-x-3 text-xs text-muted-foreground">
        <span>
          {one.provider} · {one.region || "region not told"} · host says {(one.reliability * 100).toFixed(1)} %
        </span>
        {one.why_not ? <span className="text-warn">{one.why_not}</span> : <Record rate={one.rate} counted={one.counted} bootS={one.boot_p50_s} />}
      </span>
    </li>
  );
}

/** So many are drawn at first. */
const FIRST = 8;

export function Offers({ form, width }: { form: Form; width: number }) {
  const [all, setAll] = useState(false);
  const [more, setMore] = useState(false);
  const { data, error, isLoading, isFetching, refetch, fulfilledTimeStamp, isError, offers } = useOffers(form, all);
  if (isLoading) return <Loading label="Asking the providers" />;
  if (error && !data) return <ErrorPanel error={error} retry={refetch} />;
  const seen = outlook(offers, width);
  return (
    <div className="grid gap-3" aria-busy={isFetching}>
      {seen && <Estimate seen={seen} />}
      <div className="flex flex-wrap items-center justify-between gap-2 border-t pt-3">
        <Check label="With those that do not fit" checked={all} onChange={(event) => setAll(event.target.checked)} />
        <Freshness at={fulfilledTimeStamp} failed={isError} />
      </div>
      {data?.data.troubles.map((trouble) => (
        <p key={trouble} className="text-sm text-warn">
          {trouble}
        </p>
      ))}
      {offers.length === 0 ? (
        <Empty title="No machine fits now">
          <p>Allow a higher price, another GPU or more regions. A provision would search again for as long as you let it.</p>
        </Empty>
      ) : (
        <ul className="grid max-h-[26rem] gap-1.5 overflow-auto" tabIndex={0} aria-label="Matching offers">
          {(more ? offers : offers.slice(0, FIRST)).map((one) => (
            <Offer key={`${one.provider} ${one.offer_id}`} one={one} asked={seen?.asked.includes(one) ?? false} />
          ))}
          {!more && offers.length > FIRST && (
            <li>
              <button type="button" className="min-h-6 text-sm underline" onClick={() => setMore(true)}>
                Show more ({offers.length - FIRST})
              </button>
            </li>
          )}
        </ul>
      )}
    </div>
  );
}
