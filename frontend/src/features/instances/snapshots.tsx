/** An instance's snapshots: when they were taken, what each holds, how long it stays, and the way back to it. */
import { lazy, useEffect, useRef, useState, type FormEvent } from "react";
import {
  useEditInstanceMutation,
  useListSnapshotsQuery,
  usePinSnapshotMutation,
  useRemoveSnapshotMutation,
  useRestoreSnapshotMutation,
  useVerifySnapshotMutation,
  type InstanceView,
  type RetentionBody,
  type SnapshotList,
  type SnapshotView,
} from "@/api";
import { whyNot } from "@/api/can";
import { Confirm } from "@/components/confirm";
import { Snippet } from "@/components/copy";
import { Modal } from "@/components/modal";
import { Part } from "@/components/part";
import { ErrorPanel, Loading } from "@/components/states";
import { tell } from "@/components/tell";
import { Button } from "@/components/ui/button";
import { Field, Input } from "@/components/ui/field";
import { When } from "@/components/when";
import { Recovery } from "@/features/instances/recovery";
import { cn } from "@/lib/cn";
import { bytes, count, moment, span } from "@/lib/format";
import { useDebounced } from "@/lib/use-debounced";

const Clone = lazy(async () => ({ default: (await import("@/features/instances/clone")).Clone }));

const RULES: [keyof RetentionBody, string][] = [
  ["last", "The last"],
  ["hourly", "Hourly"],
  ["daily", "Daily"],
  ["weekly", "Weekly"],
];

/** When they were taken, along a line; the taller, the more was newly stored. */
function Timeline({ snapshots }: { snapshots: readonly SnapshotView[] }) {
  const times = snapshots.map((one) => Date.parse(one.created_at));
  const first = Math.min(...times);
  const width = Math.max(1, Date.now() - first);
  const most = Math.max(1, ...snapshots.map((one) => one.stored_bytes));
  return (
    <figure className="grid gap-1">
      <svg
        viewBox="0 0 400 44"
        preserveAspectRatio="none"
        className="h-11 w-full"
        role="img"
        aria-label={`${count(snapshots.length, "snapshot")} since ${moment(snapshots.at(-1)!.created_at)}; the most newly stored at once is ${bytes(most)}`}
      >
        <line x1="0" x2="400" y1="43.5" y2="43.5" className="stroke-border" />
        {snapshots.map((one) => {
          const tall = 6 + (one.stored_bytes / most) * 34;
          return (
            <rect
              key={one.id}
              x={4 + ((Date.parse(one.created_at) - first) / width) * 388}
              y={43 - tall}
              width="4"
              height={tall}
              className={cn(one.state === "damaged" ? "fill-bad" : one.newest ? "fill-good" : one.kept ? "fill-primary" : "fill-muted-foreground")}
            >
              <title>{`${moment(one.created_at)}: ${bytes(one.stored_bytes)} newly stored, ${one.kept ?? "goes soon"}`}</title>
            </rect>
          );
        })}
      </svg>
      <figcaption className="flex justify-between text-xs text-muted-foreground">
        <span>{moment(snapshots.at(-1)!.created_at)}</span>
        <span>now</span>
      </figcaption>
    </figure>
  );
}

function Rules({ instance, list }: { instance: InstanceView; list: SnapshotList }) {
  const [rules, setRules] = useState<Required<RetentionBody>>({ last: 3, hourly: 24, daily: 7, weekly: 4, ...list.retention });
  const [save, { isLoading }] = useEditInstanceMutation();
  // What they would keep is the API's to say: it also knows what something needs.
  const asked = useDebounced(rules);
  const { data, error, refetch } = useListSnapshotsQuery({ instance: instance.id, limit: 200, ...asked, last: Math.max(1, asked.last) });
  const whole = data?.data.snapshots.filter((one) => one.state === "verified");
  const going = whole?.filter((one) => one.kept === null) ?? [];
  const submit = (event: FormEvent) => {
    event.preventDefault();
    void tell("The rules are saved", save({ instance: instance.id, patch: { retention: rules } }).unwrap());
  };
  return (
    <form onSubmit={submit} className="grid gap-3" aria-label="Retention rules">
      <div className="grid grid-cols-4 gap-2">
        {RULES.map(([key, label]) => (
          <Field key={key} label={label}>
            <Input
              type="number"
              min={key === "last" ? 1 : 0}
              max={key === "last" ? 100 : 1000}
              value={rules[key]}
              onChange={(e) => setRules({ ...rules, [key]: Math.max(0, Number(e.target.value) || 0) })}
            />
          </Field>
        ))}
      </div>
      {error && <ErrorPanel error={error} retry={refetch} />}
      <p role="status" className="text-sm">
        {!whole
          ? "Asking what they would keep…"
          : going.length === 0
            ? `All ${whole.length} of today’s would stay.`
            : `${going.length} of ${whole.length} would go within an hour of the next snapshot: ${going.map((one) => moment(one.created_at)).join("; ")}.`}
      </p>
      <Button type="submit" variant="outline" size="sm" className="justify-self-start" disabled={isLoading} disabledReason={whyNot("edit", instance)}>
        Save the rules
      </Button>
    </form>
  );
}

function More({ instance, one, others }: { instance: InstanceView; one: SnapshotView; others: readonly SnapshotView[] }) {
  const [against, setAgainst] = useState(others[0]?.id ?? "");
  const problems = [...one.torn.map((path) => `${path} kept changing while it was read`), ...one.unreadable.map((path) => `${path} could not be read`)];
  return (
    <div className="grid gap-4 text-sm">
      <dl className="grid grid-cols-2 gap-x-4 gap-y-2 sm:grid-cols-3">
        {(
          [
            ["Files", one.files.toLocaleString("en")],
            ["Size", bytes(one.bytes)],
            ["Newly stored", bytes(one.stored_bytes)],
            ["Took", span(one.seconds)],
            ["Stays because", one.kept ?? "nothing: it goes soon"],
            ["Id", one.id],
          ] as const
        ).map(([label, value]) => (
          <div key={label} className="min-w-0">
            <dt className="text-xs text-muted-foreground">{label}</dt>
            <dd className="break-words tabular-nums">{value}</dd>
          </div>
        ))}
      </dl>
      {problems.length > 0 && (
        <ul className="grid max-h-32 gap-1 overflow-auto text-warn" tabIndex={0} aria-label="What was not saved as it was">
          {problems.map((words) => (
            <li key={words} className="break-all">
              {words}
            </li>
          ))}
        </ul>
      )}
      <div className="grid gap-1.5">
        <p className="font-medium">Some of its files</p>
        <p className="text-xs text-muted-foreground">They are opened on your own machine only; copy back what you want.</p>
        <Snippet label="command that downloads it" text={`dumont snapshots pull ${instance.name} ${one.id} --to ./restored`} />
        <Snippet label="command that copies back" text={`dumont cp ./restored/FILE ${instance.name}:FILE`} />
      </div>
      {others.length > 0 && (
        <div className="grid gap-1.5">
          <Field label="What changed between it and">
            <select className="h-9 rounded-md border bg-card px-2 text-sm" value={against} onChange={(e) => setAgainst(e.target.value)}>
              {others.map((other) => (
                <option key={other.id} value={other.id}>
                  {moment(other.created_at)}, {bytes(other.bytes)}
                </option>
              ))}
            </select>
          </Field>
          <Snippet label="command that compares" text={`dumont snapshots diff ${instance.name} ${against} ${one.id}`} />
        </div>
      )}
    </div>
  );
}

function Row({ instance, one, others }: { instance: InstanceView; one: SnapshotView; others: readonly SnapshotView[] }) {
  const [pin] = usePinSnapshotMutation();
  const [remove] = useRemoveSnapshotMutation();
  const [restore] = useRestoreSnapshotMutation();
  const [verify, verifying] = useVerifySnapshotMutation();
  const taken = moment(one.created_at);
  const running = instance.machine !== null;
  const check = async () => {
    const { data } = await verify({ instance: instance.id, snapshot: one.id, wait: 50 }).unwrap();
    if (data.problem) throw { message: data.problem };
  };
  const found = verifying.data?.data;
  const usable = one.state === "verified";
  return (
    <li className="grid gap-1 border-b py-2 first:pt-0 last:border-0 last:pb-0">
      <div className="flex flex-wrap items-baseline justify-between gap-x-3">
        <span>
          <When at={one.created_at} className="font-medium" />{" "}
          {usable ? (
            <span className={cn("text-xs", one.newest ? "font-medium text-good" : one.kept ? "text-muted-foreground" : "text-warn")}>{one.kept ?? "goes soon"}</span>
          ) : (
            <span className={cn("text-xs", one.state === "damaged" ? "font-medium text-bad" : "text-warn")}>
              {one.state}
              {one.problem && `: ${one.problem}`}
            </span>
          )}
        </span>
        <span className="text-xs text-muted-foreground tabular-nums">
          {count(one.files, "file")}, {bytes(one.bytes)}; new {bytes(one.stored_bytes)}
          {one.torn.length > 0 && <span className="text-warn">; {one.torn.length} kept changing</span>}
        </span>
      </div>
      {found && !found.problem && (
        <p role="status" className="text-xs text-good">
          Whole: {count(found.objects, "object")} there, {found.frames_read} of {count(found.frames, "frame")} opened.
        </p>
      )}
      {(usable || one.state === "damaged") && (
        <div className="-mx-2 flex flex-wrap">
          <Button
            size="xs"
            variant="link"
            disabled={verifying.isLoading}
            onClick={() => void tell("It is whole", check())}
            aria-label={`Verify the snapshot of ${taken}`}
          >
            {verifying.isLoading ? "Reading…" : "Verify"}
          </Button>
          <Confirm
            trigger={
              <Button
                size="xs"
                variant="link"
                aria-label={`Restore the snapshot of ${taken}`}
                disabledReason={
                  whyNot("restore", instance) ??
                  (usable ? (instance.restoring ? "Its files are still coming back." : null) : "It is damaged; verify it again first.")
                }
              >
                Restore
              </Button>
            }
            heading={`Go back to ${taken}?`}
            description={
              running
                ? `The workspace becomes what it was: ${count(one.files, "file")}, ${bytes(one.bytes)}. What changed since is overwritten, and files that are not in it are removed. Take a snapshot first to be able to come back.`
                : `The next wake brings this one back: ${count(one.files, "file")}, ${bytes(one.bytes)}. The newer ones stay for as long as the rules keep them.`
            }
            action="Restore it"
            onConfirm={() =>
              void tell(running ? "Its files are coming back" : "The next wake brings it back", restore({ instance: instance.id, snapshot: one.id }).unwrap())
            }
          />
          {usable && (
            <Modal
              trigger={
                <Button size="xs" variant="link" aria-label={`Clone the snapshot of ${taken}`}>
                  Clone
                </Button>
              }
              heading={`A new instance from ${taken}`}
              description={`${count(one.files, "file")}, ${bytes(one.bytes)}: read once, then saved under a key of its own. ${instance.name} is not touched.`}
            >
              {(close) => (
                <Part>
                  <Clone instance={instance} one={one} close={close} />
                </Part>
              )}
            </Modal>
          )}
          {usable && (
            <Button
              size="xs"
              variant="link"
              onClick={() =>
                void tell(
                  one.pinned ? "The rules decide about it again" : "It stays until you take the pin out",
                  pin({ instance: instance.id, snapshot: one.id, snapshotPatch: { pinned: !one.pinned } }).unwrap(),
                )
              }
              aria-label={`${one.pinned ? "Unpin" : "Pin"} the snapshot of ${taken}`}
            >
              {one.pinned ? "Unpin" : "Pin"}
            </Button>
          )}
          <Modal
            trigger={
              <Button size="xs" variant="link" aria-label={`Files of the snapshot of ${taken}`}>
                Files
              </Button>
            }
            heading={`Snapshot of ${taken}`}
          >
            {() => <More instance={instance} one={one} others={others.filter((other) => other.id !== one.id)} />}
          </Modal>
          {!one.newest && (
            <Confirm
              trigger={
                <Button size="xs" variant="link" className="text-bad" aria-label={`Give up the snapshot of ${taken}`}>
                  Give up
                </Button>
              }
              heading="Give up this snapshot?"
              description={`The files as they were at ${taken} cannot be brought back. What other snapshots need stays.`}
              action="Give it up"
              onConfirm={() => void tell("It is given up", remove({ instance: instance.id, snapshot: one.id }).unwrap())}
            />
          )}
        </div>
      )}
    </li>
  );
}

const FIRST = 5;

export function Snapshots({ instance, all = false }: { instance: InstanceView; all?: boolean }) {
  const { data, error, isLoading, refetch } = useListSnapshotsQuery({ instance: instance.id, limit: 200 });
  // A new one is named by the instance itself: until then there is nothing to ask for.
  const newest = useRef(instance.snapshot_id);
  useEffect(() => {
    if (newest.current === instance.snapshot_id) return;
    newest.current = instance.snapshot_id;
    void refetch();
  }, [instance.snapshot_id, refetch]);
  const [open, setOpen] = useState(all);
  if (isLoading) return <Loading />;
  if (!data) return <ErrorPanel error={error} retry={refetch} />;
  const { snapshots } = data.data;
  if (snapshots.length === 0) {
    return <p className="text-sm text-muted-foreground">None yet. One is taken whenever it hibernates, and when you ask for one.</p>;
  }
  const whole = snapshots.filter((one) => one.state === "verified");
  const shown = open ? snapshots : snapshots.slice(0, FIRST);
  return (
    <div className="grid gap-3 text-sm">
      {snapshots.length > 1 && <Timeline snapshots={snapshots} />}
      <ul>
        {shown.map((one) => (
          <Row key={one.id} instance={instance} one={one} others={whole} />
        ))}
      </ul>
      <div className="flex flex-wrap items-center gap-2">
        {snapshots.length > shown.length && (
          <Button size="sm" variant="outline" onClick={() => setOpen(true)}>
            All {snapshots.length}
          </Button>
        )}
        <Modal
          trigger={
            <Button size="sm" variant="outline">
              Retention
            </Button>
          }
          heading="Which ones stay"
          description="The last few in any case, and the newest of so many hours, days and weeks. Pinned ones and those something needs stay as well."
        >
          {() => <Rules instance={instance} list={data.data} />}
        </Modal>
        <Modal
          trigger={
            <Button size="sm" variant="outline">
              Recovery key
            </Button>
          }
          heading="Restore without us"
          description="With this key and the bucket’s credentials the snapshots open without any control plane. Keep it as you keep a password; that it was shown is in the event log."
        >
          {() => <Recovery instance={instance} />}
        </Modal>
      </div>
    </div>
  );
}
