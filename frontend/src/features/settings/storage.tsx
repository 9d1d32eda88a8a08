/** Buckets that snapshots go to: the deployment's own, and yours. */
import { lazy } from "react";
import { useListStorageQuery, useRemoveStorageMutation, useTestStorageMutation, useUseStorageMutation, type BucketView, type VendorView } from "@/api";
import { Confirm } from "@/components/confirm";
import { Modal } from "@/components/modal";
import { Part } from "@/components/part";
import { ErrorPanel, Loading } from "@/components/states";
import { tell } from "@/components/tell";
import { Button } from "@/components/ui/button";
import { When } from "@/components/when";
import { count } from "@/lib/format";

const BucketForm = lazy(async () => ({ default: (await import("@/features/settings/bucket-form")).BucketForm }));
const Steps = lazy(async () => ({ default: (await import("@/features/settings/bucket-form")).Steps }));

function Bucket({ one, vendors }: { one: BucketView; vendors: readonly VendorView[] }) {
  const [test, tested] = useTestStorageMutation();
  const [use] = useUseStorageMutation();
  const [remove] = useRemoveStorageMutation();
  const { name } = one;
  const tries = async () => {
    const { data } = await test({ name }).unwrap();
    if (!data.good) throw { message: data.steps.at(-1)?.problem ?? "A step failed." };
  };
  return (
    <li className="grid gap-2 py-3 first:pt-0" aria-label={`Bucket ${name}`}>
      <div className="flex flex-wrap items-start justify-between gap-x-6 gap-y-1">
        <span className="grid min-w-0">
          <span className="flex flex-wrap items-center gap-2">
            <strong>{name}</strong>
            {one.default && <span className="rounded-full border border-good/40 bg-good/10 px-2 py-0.5 text-xs font-medium text-good">default</span>}
            {!one.own && <span className="text-xs text-muted-foreground">of this deployment</span>}
          </span>
          <span className="text-xs break-words text-muted-foreground">
            {one.title}, bucket {one.bucket}, {one.region}
            {one.endpoint && `, ${one.endpoint}`}
          </span>
          <span className="text-xs text-muted-foreground">
            {one.instances === 0 ? "No files of an instance" : `Files of ${count(one.instances, "instance")}`}
            {one.access_key && `, key ${one.access_key}`}
            {one.tested_at && (
              <>
                , tried <When at={one.tested_at} />
              </>
            )}
          </span>
        </span>
        <span className="grid text-xs text-muted-foreground sm:justify-items-end">
          <span className="text-sm font-medium text-foreground tabular-nums">${one.usd_per_gb_month} per GB and month</span>
          {one.minimum_days > 0 && <span>each object for {one.minimum_days} days at least</span>}
          <span>reading: {one.egress}</span>
        </span>
      </div>
      {tested.data && (
        <Part waiting={null}>
          <Steps steps={tested.data.data.steps} />
        </Part>
      )}
      <div className="flex flex-wrap gap-2">
        <Button size="xs" variant="outline" disabled={tested.isLoading} aria-label={`Test ${name}`} onClick={() => void tell(`${name} does all that it must`, tries())}>
          {tested.isLoading ? "Trying…" : "Test"}
        </Button>
        <Button
          size="xs"
          variant="outline"
          aria-label={`Make ${name} the default`}
          disabledReason={one.default ? "New instances go there already." : null}
          onClick={() => void tell(`New instances go to ${name}`, use({ name }).unwrap())}
        >
          Make default
        </Button>
        {one.own && (
          <>
            <Modal
              trigger={
                <Button size="xs" variant="outline" aria-label={`New keys for ${name}`}>
                  New keys
                </Button>
              }
              heading={`New keys for ${name}`}
              description="They are tried before the old ones are forgotten."
            >
              {(close) => (
                <Part>
                  <BucketForm vendors={vendors} known={one} close={close} />
                </Part>
              )}
            </Modal>
            <Confirm
              trigger={
                <Button
                  size="xs"
                  variant="danger"
                  aria-label={`Remove ${name}`}
                  disabledReason={one.instances > 0 ? `It holds the files of ${count(one.instances, "instance")}; destroy ${one.instances === 1 ? "it" : "them"} first.` : null}
                >
                  Remove
                </Button>
              }
              heading={`Forget ${name}?`}
              description={`Its keys are forgotten and nothing new goes there. What lies in the bucket stays; no instance of yours has files in it.${one.default ? " New instances go to the deployment’s own bucket again." : ""}`}
              action="Forget it"
              onConfirm={() => void tell(`${name} is forgotten`, remove({ name }).unwrap())}
            />
          </>
        )}
      </div>
    </li>
  );
}

export function Storage() {
  const { data, error, isLoading, refetch } = useListStorageQuery();
  if (isLoading) return <Loading />;
  if (!data) return <ErrorPanel error={error} retry={refetch} />;
  const { buckets, vendors } = data.data;
  return (
    <div className="grid gap-3 text-sm">
      {buckets.length === 0 ? (
        <p className="text-muted-foreground">This deployment has no bucket of its own: nothing can be saved before you add one.</p>
      ) : (
        <ul className="divide-y" aria-label="Buckets">
          {buckets.map((one) => (
            <Bucket key={one.name} one={one} vendors={vendors} />
          ))}
        </ul>
      )}
      <div className="border-t pt-4">
        <Modal trigger={<Button variant="outline">Add a bucket</Button>} heading="A bucket of your own" description="Tried step by step before anything is kept: what snapshots need must work with these keys.">
          {(close) => (
            <Part>
              <BucketForm vendors={vendors} close={close} />
            </Part>
          )}
        </Modal>
      </div>
    </div>
  );
}
