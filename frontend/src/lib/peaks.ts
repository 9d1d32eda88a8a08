/** A row of a chart's data: the times, then the values of each line. */
export type Rows = [number[], ...(number | null)[][]];

/**
 * As many points as a screen can tell apart: of each pixel's column the lowest and the highest value, in the order in which they
 * came. No peak is lost, and where nothing was measured the line still breaks.
 */
export function peaks(times: readonly number[], lines: readonly (readonly (number | null)[])[], from: number, to: number, pixels: number): Rows {
  if (times.length <= 2 * pixels) return [times as number[], ...lines.map((line) => line as (number | null)[])];
  const kept: Rows = [[], ...lines.map(() => [])];
  const keep = (start: number, end: number) => {
    kept[0].push(times[start]!);
    if (end > start) kept[0].push(times[end]!);
    lines.forEach((line, place) => {
      let low = start;
      let high = start;
      for (let at = start; at <= end; at += 1) {
        const value = line[at];
        if (value === null || value === undefined) continue;
        if (value < (line[low] ?? Infinity)) low = at;
        if (value > (line[high] ?? -Infinity)) high = at;
      }
      const values = kept[place + 1] as (number | null)[];
      values.push(line[Math.min(low, high)] ?? null);
      if (end > start) values.push(line[Math.max(low, high)] ?? null);
    });
  };
  const columnOf = (at: number): number => Math.floor(((times[at]! - from) / (to - from)) * pixels);
  const isGap = (at: number): boolean => lines.every((line) => line[at] === null || line[at] === undefined);
  let start = 0;
  for (let at = 1; at <= times.length; at += 1) {
    if (at < times.length && columnOf(at) === columnOf(start) && isGap(at) === isGap(start)) continue;
    keep(start, at - 1);
    start = at;
  }
  return kept;
}
