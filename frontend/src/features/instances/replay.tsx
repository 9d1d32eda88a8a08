/** A past race, drawn again from the event log and the ledger, at its own speed or faster. */
import { Pause, Play } from "lucide-react";
import { useEffect, useMemo, useState } from "react";
import { useListEventsQuery, useShowLedgerQuery, type InstanceView } from "@/api";
import { ErrorPanel, Loading } from "@/components/states";
import { Button } from "@/components/ui/button";
import { Select } from "@/components/ui/field";
import { Lanes } from "@/features/instances/lanes";
import { endOf, racesOf, type Race } from "@/features/instances/race";
import { moment, span } from "@/lib/format";

const STEP_MS = 100;

function Player({ race }: { race: Race }) {
  const [opened] = useState(() => Date.now());
  const long = endOf(race.lanes, opened) - race.at;
  const [at, setAt] = useState(long);
  const [playing, setPlaying] = useState(false);
  // Nobody waits a minute for a replay: long races go faster.
  const speed = Math.max(1, Math.ceil(long / 15_000));
  useEffect(() => {
    if (!playing) return;
    const timer = setInterval(() => setAt((old) => Math.min(long, old + STEP_MS * speed)), STEP_MS);
    return () => clearInterval(timer);
  }, [playing, long, speed]);
  useEffect(() => {
    if (at >= long) setPlaying(false);
  }, [at, long]);
  return (
    <div className="grid gap-3">
      <div className="flex items-center gap-3">
        <Button
          size="icon"
          variant="outline"
          aria-label={playing ? "Pause" : "Play"}
          onClick={() => {
            if (at >= long) setAt(0);
            setPlaying(!playing);
          }}
        >
          {playing ? <Pause /> : <Play />}
        </Button>
        <input
          type="range"
          aria-label="Moment of the race"
          aria-valuetext={span(at / 1000)}
          min={0}
          max={long}
          step={1}
          value={at}
          className="h-6 min-w-0 flex-1 accent-primary"
          onChange={(e) => setAt(Number(e.target.value))}
        />
        <span className="min-w-16 text-right text-sm whitespace-nowrap tabular-nums">
          {span(at / 1000)}
          {speed > 1 && <span className="text-muted-foreground"> · {speed}×</span>}
        </span>
      </div>
      <Lanes lanes={race.lanes} now={race.at + at} from={race.at} />
    </div>
  );
}

export function Replay({ instance }: { instance: InstanceView }) {
  const events = useListEventsQuery({ instance: instance.id, limit: 500 });
  const ledger = useShowLedgerQuery({ instance: instance.id, since: instance.created_at });
  const [chosen, setChosen] = useState(0);
  const races = useMemo(() => racesOf(events.data?.data.events ?? [], ledger.data?.data.rows ?? []), [events.data, ledger.data]);
  if (events.isLoading || ledger.isLoading) return <Loading label="Loading its races" />;
  const error = events.error ?? ledger.error;
  if (error) return <ErrorPanel error={error} retry={() => Promise.all([events.refetch(), ledger.refetch()])} />;
  const race = races[chosen];
  if (!race) return <p className="text-sm text-muted-foreground">Nothing to replay yet: a machine is on the ledger once its provider has made it.</p>;
  return (
    <div className="grid gap-3">
      <Select aria-label="Which race" className="w-auto justify-self-start" value={chosen} onChange={(e) => setChosen(Number(e.target.value))}>
        {races.map((one, place) => (
          <option key={one.at} value={place}>
            {one.words}, {moment(new Date(one.at).toISOString())}: {one.lanes.length} asked
          </option>
        ))}
      </Select>
      <Player key={race.at} race={race} />
    </div>
  );
}
