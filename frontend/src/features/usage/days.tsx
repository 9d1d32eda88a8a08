import type { DayView } from "@/api";
import { usd } from "@/lib/format";

/** What each day cost, a bar a day. */
export function Days({ days }: { days: readonly DayView[] }) {
  const most = Math.max(...days.map((one) => Number(one.usd)), 0);
  const sum = days.reduce((all, one) => all + Number(one.usd), 0);
  if (most === 0) return <p className="rounded-md border border-dashed p-6 text-center text-sm text-muted-foreground">No day of this time cost anything.</p>;
  return (
    <figure className="grid gap-1.5">
      <div role="img" aria-label={`${usd(sum)} over ${days.length} days, at most ${usd(most)} a day`} className="grid grid-cols-[3rem_1fr] gap-x-2">
        <span aria-hidden className="flex flex-col justify-between text-right text-xs text-muted-foreground tabular-nums">
          <span>{usd(most)}</span>
          <span>{usd(most / 2)}</span>
          <span>$0</span>
        </span>
        <div aria-hidden className="relative flex h-36 items-end gap-px border-b sm:gap-0.5">
          <span className="absolute inset-x-0 top-0 border-t border-dashed" />
          <span className="absolute inset-x-0 top-1/2 border-t border-dashed" />
          {days.map((one) => (
            <span key={one.day} title={`${one.day}: ${usd(one.usd)}`} className="relative flex h-full max-w-16 flex-1 items-end hover:bg-muted">
              <span className="w-full rounded-t-sm bg-primary" style={{ height: `${(Number(one.usd) / most) * 100}%` }} />
            </span>
          ))}
        </div>
      </div>
      <figcaption className="flex justify-between pl-14 text-xs text-muted-foreground">
        <span>{days[0]?.day}</span>
        {days.length > 1 && <span>{days.at(-1)?.day}</span>}
      </figcaption>
    </figure>
  );
}
