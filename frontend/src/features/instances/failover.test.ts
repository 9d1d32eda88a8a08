import { expect, test } from "vitest";
import { sharesOf, stepsOf } from "@/features/instances/failover";

const measured = {
  heard_at: "2026-11-25T10:00:00Z",
  detected_at: "2026-11-25T10:00:10Z",
  snapshot_at: "2026-11-25T09:59:40Z",
  promoted_at: "2026-11-25T10:00:12Z",
  gpu_found_at: "2026-11-25T10:00:30Z",
  back_at: "2026-11-25T10:00:40Z",
  rpo_s: 20,
  rto_s: 12,
  gpu_back_s: 40,
};

test("steps are told in the order they happened, in seconds since the machine was heard", () => {
  const steps = stepsOf(measured);
  expect(steps.map((one) => one.afterS)).toEqual([0, 10, 12, 30, 40]);
  expect(sharesOf(steps)).toEqual([0, 0.25, 0.3, 0.75, 1]);
});

test("what has not happened is not told", () => {
  expect(stepsOf({ ...measured, promoted_at: null, gpu_found_at: null, back_at: null }).map((one) => one.afterS)).toEqual([0, 10]);
  expect(sharesOf(stepsOf({ ...measured, detected_at: measured.heard_at, promoted_at: null, gpu_found_at: null, back_at: null }))).toEqual([0, 0]);
});
