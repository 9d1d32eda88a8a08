import {
  useListSnapshotsQuery,
  usePinSnapshotMutation,
  useRemoveSnapshotMutation,
  type InstanceView,
  type SnapshotView,
} from "@/api";
import { Confirm } from "@/components/confirm";
import { ErrorPanel, Loading } from "@/components/states";
import { tell } from "@/components/tell";
import { Button } from "@/components/ui/button";
import { bytes } from "@/lib/format";

export function Snapshots({ instance }: { instance: InstanceView }) {
  const { data, error, isLoading } = useListSnapshotsQuery({ instance: instance.id, limit: 50 }, { pollingInterval: 30_000, skipPollingIfUnfocused: true });
  if (isLoading) return <Loading />;
  if (error && !data) return <ErrorPanel error={error} />;
  const snapshots = data?.data.snapshots ?? [];
  if (snapshots.length === 0) return <p className="text-sm text-muted-foreground">None yet. One is taken when it hibernates.</p>;
  return (
    <ul className="grid gap-2 text-sm">
      {snapshots.map((one) => (
        <Snapshot key={one.id} instance={instance.id} one={one} />
      ))}
    </ul>
  );
}

function Snapshot({ instance, one }: { instance: string; one: SnapshotView }) {
  const [pin] = usePinSnapshotMutation();
  const [remove] = useRemoveSnapshotMutation();
  const taken = new Date(one.created_at).toLocaleString();
  const change = () =>
    void tell(
      one.pinned ? "The rules decide about it again" : "It stays until you take the pin out",
      pin({ instance, snapshot: one.id, snapshotPatch: { pinned: !one.pinned } }).unwrap(),
    );
  return (
    <li className="flex flex-wrap items-center justify-between gap-2 border-b pb-2 last:border-0">
      <span>
        <time dateTime={one.created_at}>{taken}</time>
        {one.state !== "verified" && <span className="ml-2 text-warn">{one.state}</span>}
        {one.state === "verified" && <span className={one.newest ? "ml-2 font-medium text-good" : "ml-2 text-muted-foreground"}>{one.kept ?? "goes soon"}</span>}
        <span className="block text-xs text-muted-foreground tabular-nums">
          {one.files} files, {bytes(one.bytes)}; stored {bytes(one.stored_bytes)}
          {one.torn.length > 0 && `; ${one.torn.length} kept changing`}
        </span>
      </span>
      {one.state === "verified" && (
        <span className="flex gap-2">
          <Button size="sm" variant="ghost" onClick={change} aria-label={`${one.pinned ? "Unpin" : "Pin"} the snapshot of ${taken}`}>
            {one.pinned ? "Unpin" : "Pin"}
          </Button>
          {!one.newest && (
            <Confirm
              trigger={
                <Button size="sm" variant="danger" aria-label={`Give up the snapshot of ${taken}`}>
                  Give up
                </Button>
              }
              heading="Give up this snapshot?"
              description={`The files as they were at ${taken} cannot be brought back. What other snapshots need stays.`}
              action="Give it up"
              onConfirm={() => void tell("It is given up", remove({ instance, snapshot: one.id }).unwrap())}
            />
          )}
        </span>
      )}
    </li>
  );
}
