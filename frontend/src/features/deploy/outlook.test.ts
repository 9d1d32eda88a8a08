import { expect, test } from "vitest";
import { outlook } from "@/features/deploy/outlook";

const offer = (change: object = {}) => ({
  provider: "vast", offer_id: "1", machine_id: "1", host_id: "1", gpu_name: "L4", gpu_count: 1, vram_gb: 24, usd_per_hour: "0.36",
  price: { gpu: "0.36", disk: "0", transfer: "0", dud: "0", total: "0.4" }, disk_gib: 50, reliability: 0.9, region: "US", down_mbit: 100,
  interruptible: false, rate: null, counted: 0, boot_p50_s: null, why_not: null, ...change,
});

test("no boot time and no waste is invented where none was measured", () => {
  expect(outlook([offer()], 5)).toMatchObject({ readyS: null, known: 0, wastedUsd: null, low: 0.4, high: 0.4 });
});

test("our own history counts before the host’s word", () => {
  expect(outlook([offer()], 1)?.chance).toBeCloseTo(0.9);
  expect(outlook([offer({ rate: 0.5 })], 1)?.chance).toBeCloseTo(0.5);
  expect(outlook([offer({ rate: 0.5 }), offer({ rate: 0.5 })], 2)?.chance).toBeCloseTo(0.75);
});

test("the soonest decides when it is ready, and the others are paid for until then", () => {
  const seen = outlook([offer({ boot_p50_s: 40 }), offer({ boot_p50_s: 10, usd_per_hour: "0.72" })], 5);
  expect(seen?.readyS).toBe(10);
  expect(seen?.wastedUsd).toBeCloseTo((0.72 * 10) / 3600);
});

test("what does not fit is not asked", () => {
  expect(outlook([offer({ why_not: "blocked" })], 5)).toBeNull();
  expect(outlook([offer(), offer(), offer()], 2)?.asked).toHaveLength(2);
});
