/** Numbers and times for people. */
export const usdPerHour = (usd: string | number): string => `$${Number(usd).toFixed(3)}/h`;
export const usd = (amount: string | number): string => {
  const value = Number(amount);
  if (value > 0 && value < 0.0001) return "< $0.0001";
  return value !== 0 && Math.abs(value) < 0.01 ? `$${value.toFixed(4)}` : `$${value.toFixed(2)}`;
};

export function span(seconds: number): string {
  const s = Math.max(0, seconds);
  if (s > 0 && s < 0.05) return "< 0.1 s";
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 60) return `${Math.round(s)} s`;
  // What is nothing is not said: 3 min, not 3 min 0 s.
  const two = (big: number, bigUnit: string, small: number, smallUnit: string) => `${big} ${bigUnit}${small > 0 ? ` ${small} ${smallUnit}` : ""}`;
  if (s < 3600) return two(Math.floor(s / 60), "min", Math.floor(s % 60), "s");
  if (s < 86_400) return two(Math.floor(s / 3600), "h", Math.floor((s % 3600) / 60), "min");
  return two(Math.floor(s / 86_400), "d", Math.floor((s % 86_400) / 3600), "h");
}

export function bytes(count: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = count;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

export const secondsBetween = (from: string | null, to: string | null): number | null =>
  from && to ? (Date.parse(to) - Date.parse(from)) / 1000 : null;

/** What is typed a line each, without what is empty. */
export const linesOf = (text: string): string[] =>
  text
    .split("\n")
    .map((line) => line.trim())
    .filter(Boolean);

export const percent = (share: number): string => `${Math.round(share * 100)} %`;

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

/** A moment as one says it: today's by the clock, older ones with their day. */
export const moment = (at: string, now = new Date()): string => {
  const then = new Date(at);
  return then.toDateString() === now.toDateString() ? CLOCK.format(then) : DAY.format(then);
};

export const count = (many: number, one: string, more = `${one}s`): string => `${many.toLocaleString("en")} ${many === 1 ? one : more}`;
