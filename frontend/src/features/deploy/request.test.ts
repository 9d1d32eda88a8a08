import { expect, test } from "vitest";
import { estimate } from "@/features/deploy/offers";
import { commandOf, requestOf, START } from "@/features/deploy/request";

test("the defaults are one short command and one short request", () => {
  expect(commandOf(START)).toBe("dumont provision --gpu 'RTX 4090' --strategy race");
  expect(requestOf(START)).toEqual({ gpu_name: "RTX 4090", strategy: "race" });
});

test("words of a set-up command reach the shell as one word", () => {
  expect(commandOf({ ...START, gpu: "L4", setup: "echo 'hi'; rm -rf $HOME" })).toBe(
    "dumont provision --gpu L4 --setup 'echo '\\''hi'\\''; rm -rf $HOME' --strategy race",
  );
});

test("never hibernating is said in both", () => {
  const form = { ...START, idleMinutes: 0 };
  expect(commandOf(form)).toContain("--no-hibernate");
  expect(requestOf(form).idle_policy).toEqual({ enabled: false });
});

test("an estimate invents no boot time", () => {
  const price = { gpu: "0.2", disk: "0", transfer: "0", dud: "0", total: "0.2" };
  const offer = { provider: "vast", offer_id: "1", machine_id: "1", host_id: "1", gpu_name: "L4", gpu_count: 1, vram_gb: 24, usd_per_hour: "0.2", price, disk_gib: 50, reliability: 1, region: "US", down_mbit: 100, interruptible: false, rate: null, counted: 0, boot_p50_s: null, why_not: null };
  expect(estimate([offer], 5)).toEqual({ low: 0.2, high: 0.2, readyS: null, known: 0 });
  expect(estimate([offer, { ...offer, boot_p50_s: 40 }, { ...offer, boot_p50_s: 1, why_not: "blocked" }], 5)?.readyS).toBe(40);
  expect(estimate([{ ...offer, why_not: "no" }], 5)).toBeNull();
});
