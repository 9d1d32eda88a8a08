/** The race of now: who won, what the losers cost. Past races replay. */
import { lazy, useState } from "react";
import type { InstanceView } from "@/api";
import { Part } from "@/components/part";
import { Button } from "@/components/ui/button";
import { Lanes } from "@/features/instances/lanes";
import { lanesNow } from "@/features/instances/race";
import { count, span, usd } from "@/lib/format";
import { useNow } from "@/lib/use-now";

const Replay = lazy(async () => ({ default: (await import("@/features/instances/replay")).Replay }));

export function RaceView({ instance, replay, onReplay }: { instance: InstanceView; replay: boolean; onReplay: (on: boolean) => void }) {
  const now = useNow(500);
  const lanes = lanesNow(instance);
  const winner = lanes.find((one) => one.wonAt !== null);
  const losers = lanes.filter((one) => one !== winner);
  const racing = losers.filter((one) => one.endedAt === null && one.goneAt === null).length;
  const open = losers.filter((one) => one.endedAt !== null && one.goneAt === null).length;
  const from = Math.min(...lanes.map((one) => one.askedAt));
  const wasted = losers.reduce((sum, one) => sum + Number(one.usd ?? 0), 0);
  return (
    <div className="grid gap-3">
      {replay ? (
        <Part>
          <Replay instance={instance} />
        </Part>
      ) : lanes.length === 0 ? (
        <p className="text-sm text-muted-foreground">No machine was asked for yet.</p>
      ) : (
        <>
          <p aria-live="polite" className="text-sm text-muted-foreground">
            {winner ? `Ready after ${span((winner.wonAt! - from) / 1000)}; ${lanes.length} were asked.` : `${racing < lanes.length ? `${racing} of ` : ""}${count(lanes.length, "machine")} ${racing === 1 || lanes.length === 1 ? "races" : "race"}.`} Losers cost {usd(wasted)}
            {open > 0 ? `; ${open} not yet proven gone.` : "."}
          </p>
          <Lanes lanes={lanes} now={now} from={from} />
        </>
      )}
      {lanes.length > 0 && winner && (
        <Button size="sm" variant="outline" className="justify-self-start" aria-expanded={replay} onClick={() => onReplay(!replay)}>
          {replay ? "The newest race" : "Replay, and earlier races"}
        </Button>
      )}
    </div>
  );
}

/** Deep link: `?race` opens the replay. */
export function useReplay(): [boolean, (on: boolean) => void] {
  return useState(() => new URLSearchParams(location.search).has("race"));
}
