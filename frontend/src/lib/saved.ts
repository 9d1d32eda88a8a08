import type { UsageView } from "@/api";

/** Dollars that sleeping and the market have saved; a market that was dearer takes nothing off. */
export const savedOf = (usage: UsageView): number => Number(usage.savings.asleep_usd) + Math.max(0, Number(usage.savings.market_usd));
