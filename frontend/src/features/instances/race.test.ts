import { expect, test } from "vitest";
import { endOf, racesOf, stageAt, type Lane } from "@/features/instances/race";

const at = (second: number) => new Date(Date.UTC(2026, 10, 25, 10, 0, second)).toISOString();
const event = (kind: string, second: number, details = {}) => ({ id: `${kind}${second}`, at: at(second), kind, message: "", actor: "system", details });
const row = (attempt_id: string, start: number, end: number | null, gpu_count = 1) => ({
  attempt_id, instance_id: "i", provider: "vast", machine_id: "7", gpu_name: "L4", gpu_count, usd_per_hour: "0.3",
  start: at(start), end: end === null ? null : at(end), served: false, why: "another machine was first", seconds: 1, usd: "0.001",
});

const races = racesOf(
  [event("waking", 30), event("adopted", 36, { attempt_id: "d" }), event("adopted", 6, { attempt_id: "a" }), event("provisioning", 0)],
  [row("d", 31, null), row("b", 2, 9), row("a", 1, 20), row("standby", 3, null, 0)],
);

test("each race has the machines that were asked for while it ran, the newest race first", () => {
  expect(races.map((one) => [one.words, one.lanes.map((lane) => lane.id)])).toEqual([
    ["Wake", ["d"]],
    ["First start", ["a", "b"]],
  ]);
});

test("a standby’s machine races with nobody", () => expect(races.flatMap((one) => one.lanes).some((one) => one.id === "standby")).toBe(false));

test("a lane replays from asking to its end", () => {
  const [first, second] = races[1]!.lanes as [Lane, Lane];
  const then = (second: number) => Date.parse(at(second));
  expect([0, 3, 6].map((one) => stageAt(first, then(one)))).toEqual(["waiting", "booting", "won"]);
  expect([1, 3, 9].map((one) => stageAt(second, then(one)))).toEqual(["waiting", "booting", "gone"]);
  expect(endOf(races[1]!.lanes, then(60))).toBe(then(9));
});
