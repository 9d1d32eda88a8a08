import { useState } from "react";
import { useListOffersQuery, type OfferView } from "@/api";
import { PACE } from "@/api/hooks";
import { partsOf, Record } from "@/components/price";
import { Empty, ErrorPanel, Freshness, Loading } from "@/components/states";
import { Check } from "@/components/ui/field";
import type { Form } from "@/features/deploy/request";
import { span, usdPerHour } from "@/lib/format";
import { useDebounced } from "@/lib/use-debounced";

/** What the machines that would be asked cost, and how long they take, as far as that is known. */
export function estimate(offers: readonly OfferView[], width: number): { low: number; high: number; readyS: number | null; known: number } | null {
  const asked = offers.filter((one) => one.why_not === null).slice(0, width);
  if (asked.length === 0) return null;
  const totals = asked.map((one) => Number(one.price.total));
  const boots = asked.flatMap((one) => (one.boot_p50_s === null ? [] : [one.boot_p50_s]));
  return {
    low: Math.min(...totals),
    high: Math.max(...totals),
    readyS: boots.length > 0 ? Math.min(...boots) : null,
    known: boots.length,
  };
}

export function Offers({ form, width }: { form: Form; width: number }) {
  const [all, setAll] = useState(false);
  const query = useDebounced(
    JSON.stringify({
      gpuName: form.gpu || undefined,
      gpuCount: form.count,
      minVramGb: form.vram,
      diskGib: form.disk,
      maxUsdPerHour: form.maxPrice || undefined,
      region: form.region.length === 2 ? form.region.toUpperCase() : undefined,
      provider: form.providers.length === 1 ? form.providers[0] : undefined,
      interruptible: form.interruptible,
      all,
      limit: 30,
    }),
  );
  const { data, error, isLoading, isFetching, refetch, fulfilledTimeStamp, isError } = useListOffersQuery(JSON.parse(query), {
    pollingInterval: PACE.rest,
    skipPollingIfUnfocused: true,
  });
  if (isLoading) return <Loading label="Asking the providers" />;
  if (error && !data) return <ErrorPanel error={error} retry={refetch} />;
  const offers = (data?.data.offers ?? []).filter(
    (one) => form.providers.length === 0 || (form.providers as string[]).includes(one.provider),
  );
  const guess = estimate(offers, width);
  return (
    <div className="grid gap-3" aria-busy={isFetching}>
      <div className="flex flex-wrap items-center justify-between gap-2">
        <Check label="Show those that do not fit, and why" checked={all} onChange={(event) => setAll(event.target.checked)} />
        <Freshness at={fulfilledTimeStamp} failed={isError} />
      </div>
      {guess && (
        <p className="text-sm" data-testid="estimate">
          First hour <strong className="tabular-nums">{usdPerHour(guess.low)}</strong>
          {guess.high > guess.low && ` to ${usdPerHour(guess.high)}`}, all in.{" "}
          {guess.readyS === null
            ? "How long they take to boot is not known yet."
            : `Ready in about ${span(guess.readyS)}, from the history of ${guess.known} of them.`}
        </p>
      )}
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
        <ul className="grid max-h-[28rem] gap-2 overflow-auto" tabIndex={0} aria-label="Matching offers">
          {offers.map((one) => (
            <li
              key={`${one.provider} ${one.offer_id}`}
              className="grid gap-1 rounded-md border p-2 text-sm"
            >
              <span className="flex justify-between gap-3">
                <span className={one.why_not ? "text-muted-foreground" : ""}>
                  {one.gpu_count}× {one.gpu_name} · {one.vram_gb.toFixed(0)} GB
                </span>
                <span className="font-medium tabular-nums">{usdPerHour(one.price.total)}</span>
              </span>
              <span className="text-xs text-muted-foreground">{partsOf(one.price)}</span>
              <span className="flex flex-wrap justify-between gap-x-3">
                <span className="text-xs text-muted-foreground">
                  {one.provider} · {one.region || "region not told"} · reliability {(one.reliability * 100).toFixed(1)} %
                </span>
                {one.why_not ? (
                  <span className="text-xs text-warn">{one.why_not}</span>
                ) : (
                  <Record rate={one.rate} counted={one.counted} bootS={one.boot_p50_s} />
                )}
              </span>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
