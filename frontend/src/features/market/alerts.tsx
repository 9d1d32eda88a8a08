/** Price alerts: told by webhook and in the notifications when a GPU is offered for less. */
import { useState, type FormEvent } from "react";
import { useCreateAlertMutation, useDeleteAlertMutation, useListAlertsQuery, type AlertBody, type AlertView } from "@/api";
import { ErrorPanel, Loading } from "@/components/states";
import { tell } from "@/components/tell";
import { Button } from "@/components/ui/button";
import { Check, Field, Input, Select } from "@/components/ui/field";
import { When } from "@/components/when";
import { cn } from "@/lib/cn";
import { usdPerHour } from "@/lib/format";

function Alert({ one }: { one: AlertView }) {
  const [remove] = useDeleteAlertMutation();
  const what = `${one.gpu_name} below ${usdPerHour(one.usd_per_gpu_hour)}`;
  return (
    <li className="flex items-center justify-between gap-3 border-b py-2 first:pt-0 last:border-0">
      <span className="grid min-w-0">
        <span className="flex flex-wrap items-center gap-x-2">
          <span className="font-medium">{what}</span>
          <span className="text-xs text-muted-foreground">
            {one.interruptible && "interruptible, "}
            {one.provider ?? "any provider"}
          </span>
        </span>
        <span className={cn("text-xs", one.met ? "font-medium text-good" : "text-muted-foreground")}>
          {one.lowest_usd_per_gpu_hour === null
            ? "Not sampled yet; it is from now on."
            : `${one.met ? "Met: " : "Lowest now "}${usdPerHour(one.lowest_usd_per_gpu_hour)}${one.cheapest_at ? ` at ${one.cheapest_at}` : ""}`}
          {one.told_at && (
            <span className="font-normal text-muted-foreground">
              {"; "}told <When at={one.told_at} />
            </span>
          )}
        </span>
      </span>
      <Button size="xs" variant="link" className="text-bad" aria-label={`Delete the alert on ${what}`} onClick={() => void tell("It is deleted", remove({ alert: one.id }).unwrap())}>
        Delete
      </Button>
    </li>
  );
}

export function Alerts({ gpu, suggested }: { gpu: string; suggested: number | null }) {
  const { data, error, isLoading, refetch } = useListAlertsQuery();
  const [create, creating] = useCreateAlertMutation();
  const [price, setPrice] = useState("");
  const [provider, setProvider] = useState("");
  const [spot, setSpot] = useState(false);
  const add = async (event: FormEvent) => {
    event.preventDefault();
    const alertBody: AlertBody = { gpu_name: gpu, usd_per_gpu_hour: price, interruptible: spot, provider: (provider || null) as AlertBody["provider"] };
    if (await tell(`You are told when a ${gpu} costs less than $${price} an hour`, create({ alertBody }).unwrap())) setPrice("");
  };
  return (
    <div className="grid gap-3 text-sm">
      {isLoading ? (
        <Loading />
      ) : !data ? (
        <ErrorPanel error={error} retry={refetch} />
      ) : data.data.alerts.length === 0 ? (
        <p className="text-muted-foreground">None yet. One tells you once each time the price falls below it.</p>
      ) : (
        <ul aria-label="Your price alerts">
          {data.data.alerts.map((one) => (
            <Alert key={one.id} one={one} />
          ))}
        </ul>
      )}
      <form onSubmit={add} className="grid gap-2" aria-label="New price alert">
        <div className="grid grid-cols-2 gap-2">
          <Field label="Below, $/h">
            <Input
              required
              inputMode="decimal"
              pattern="[0-9]*\.?[0-9]+"
              title="Dollars an hour, such as 0.25"
              placeholder={suggested === null ? "0.25" : suggested.toFixed(3)}
              value={price}
              onChange={(e) => setPrice(e.target.value)}
            />
          </Field>
          <Field label="At">
            <Select value={provider} onChange={(e) => setProvider(e.target.value)}>
              <option value="">any provider</option>
              <option value="vast">vast</option>
              <option value="tensordock">tensordock</option>
              <option value="gce">gce</option>
            </Select>
          </Field>
        </div>
        <div className="flex flex-wrap items-center justify-between gap-2">
          <Check label="Interruptible" checked={spot} onChange={(e) => setSpot(e.target.checked)} />
          <Button type="submit" size="sm" variant="outline" disabled={creating.isLoading}>
            Alert me
          </Button>
        </div>
      </form>
    </div>
  );
}
