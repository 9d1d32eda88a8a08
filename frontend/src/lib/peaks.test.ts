import { expect, test } from "vitest";
import { peaks } from "@/lib/peaks";

const times = Array.from({ length: 10_000 }, (_, at) => at);

test("few points stay as they are", () => {
  expect(peaks([1, 2], [[5, null]], 1, 2, 100)).toEqual([[1, 2], [5, null]]);
});

test("ten thousand points become two a pixel, and the one peak is among them", () => {
  const [kept, values] = peaks(times, [times.map((at) => (at === 4321 ? 99 : at === 4322 ? -1 : 10))], 0, 10_000, 500);
  expect(kept!.length).toBeLessThanOrEqual(1000);
  expect(Math.max(...(values as number[]))).toBe(99);
  expect(Math.min(...(values as number[]))).toBe(-1);
  // It rose before it fell, and so does what is left.
  expect(values!.indexOf(99)).toBeLessThan(values!.indexOf(-1));
  expect([...kept!].sort((a, b) => a - b)).toEqual(kept);
});

test("where nothing was measured the line still breaks, and lines keep to the same times", () => {
  const [kept, one, two] = peaks(times, [times.map((at) => (at === 777 ? null : at)), times.map((at) => (at === 777 ? null : -at))], 0, 10_000, 100);
  const gap = kept!.indexOf(777);
  expect([one![gap], two![gap]]).toEqual([null, null]);
  expect(one!.filter((value) => value === null)).toHaveLength(1);
  expect(one).toHaveLength(kept!.length);
  expect(two).toHaveLength(kept!.length);
});
