/** What happened lately to all instances. It asks when it is opened and when a state has changed, never by the clock. */
import { Bell } from "lucide-react";
import { useEffect, useMemo, useRef, useState } from "react";
import { Link } from "react-router";
import { useRecentEventsQuery, type InstanceView } from "@/api";
import { Empty, ErrorPanel, Loading } from "@/components/states";
import { Button } from "@/components/ui/button";
import { Dialog, DialogContent, DialogTrigger } from "@/components/ui/dialog";
import { paths } from "@/lib/paths";

const SEEN = "dumont-seen";

function lastSeen(): string {
  try {
    return localStorage.getItem(SEEN) ?? "";
  } catch {
    return "";
  }
}

export function Notifications({ instances }: { instances: readonly InstanceView[] }) {
  const [open, setOpen] = useState(false);
  const [seen, setSeen] = useState(lastSeen);
  const { data, error, isLoading, refetch } = useRecentEventsQuery({ limit: 30 });
  const events = useMemo(() => data?.data.events ?? [], [data]);
  const names = new Map(instances.map((one) => [one.id, one.name]));
  const states = instances.map((one) => `${one.id}=${one.state}`).join();
  const known = useRef(states);
  useEffect(() => {
    if (known.current === states) return;
    const first = known.current === "";
    known.current = states;
    if (!first) void refetch();
  }, [states, refetch]);
  const newest = events[0]?.at ?? "";
  const fresh = events.filter((one) => one.at > seen).length;
  useEffect(() => {
    if (!open || !newest) return;
    setSeen(newest);
    try {
      localStorage.setItem(SEEN, newest);
    } catch {
      // Without storage all is new again in the next tab.
    }
  }, [open, newest]);
  return (
    <Dialog
      open={open}
      onOpenChange={(next) => {
        setOpen(next);
        if (next) void refetch();
      }}
    >
      <DialogTrigger asChild>
        <Button variant="ghost" size="icon" className="relative" aria-label={fresh > 0 ? `Notifications, ${fresh} new` : "Notifications"}>
          <Bell />
          {fresh > 0 && <span aria-hidden className="absolute top-1.5 right-1.5 size-2 rounded-full bg-warn" />}
        </Button>
      </DialogTrigger>
      <DialogContent heading="Notifications" description="What happened lately to your instances.">
        {isLoading ? (
          <Loading />
        ) : error && !data ? (
          <ErrorPanel error={error} retry={refetch} />
        ) : events.length === 0 ? (
          <Empty title="Nothing has happened yet" />
        ) : (
          <ol className="grid gap-3 text-sm">
            {events.map((one) => (
              <li key={one.id} className="grid gap-0.5 border-b pb-2 last:border-0">
                <span className="flex flex-wrap justify-between gap-2">
                  <Link className="inline-flex min-h-6 items-center font-medium underline" to={paths.instance(one.instance_id)} onClick={() => setOpen(false)}>
                    {names.get(one.instance_id) ?? one.instance_id}
                  </Link>
                  <time dateTime={one.at} className="text-xs text-muted-foreground tabular-nums">
                    {new Date(one.at).toLocaleString()}
                  </time>
                </span>
                <span className="break-words">{one.message}</span>
              </li>
            ))}
          </ol>
        )}
      </DialogContent>
    </Dialog>
  );
}
