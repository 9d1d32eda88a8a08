/** What a strategy means for the machines that match now: how sure, how soon, for how much. Pure. */
import type { OfferView } from "@/api";
import type { Form } from "@/features/deploy/request";

/** How many machines each asks at once. */
export const ASKED: Record<Form["strategy"], number> = { race: 5, round_robin: 1, coldstart: 1, auto: 2, serverless: 5 };

export interface Outlook {
  asked: OfferView[];
  /** First hour's price, of the cheapest and the dearest that would be asked. */
  low: number;
  high: number;
  /** That one of them becomes ready; where nothing is known the host's own word counts. */
  chance: number;
  /** Seconds until the soonest is ready, in the median; null when none has a history. */
  readyS: number | null;
  /** How many of them have a history. */
  known: number;
  /** What the others cost until then. */
  wastedUsd: number | null;
}

export function outlook(offers: readonly OfferView[], width: number): Outlook | null {
  const asked = offers.filter((one) => one.why_not === null).slice(0, width);
  if (asked.length === 0) return null;
  const totals = asked.map((one) => Number(one.price.total));
  const boots = asked.flatMap((one) => (one.boot_p50_s === null ? [] : [one.boot_p50_s]));
  const readyS = boots.length > 0 ? Math.min(...boots) : null;
  const rate = asked.reduce((sum, one) => sum + Number(one.usd_per_hour), 0) - Math.min(...asked.map((one) => Number(one.usd_per_hour)));
  return {
    asked,
    low: Math.min(...totals),
    high: Math.max(...totals),
    chance: 1 - asked.reduce((none, one) => none * (1 - (one.rate ?? one.reliability)), 1),
    readyS,
    known: boots.length,
    wastedUsd: readyS === null ? null : (rate * readyS) / 3600,
  };
}

/** Never certain: what boots has failed before. */
export const chanceOf = (seen: Outlook): string => (seen.chance > 0.999 ? "> 99.9 %" : `${(seen.chance * 100).toFixed(1)} %`);
