import { expect, test } from "vitest";
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

test("what is typed in lines and lists reaches the request and the command alike", () => {
  const form = { ...START, ports: "8888, 6006", env: "A=1\nB=x=y\n", excludes: "*.tmp", snapshotMinutes: 10, onLoss: "hibernate" as const, storage: "mine" };
  expect(requestOf(form)).toMatchObject({ ports: [8888, 6006], env: { A: "1", B: "x=y" }, excludes: ["*.tmp"], snapshot_every_s: 600, on_loss: "hibernate", storage: "mine" });
  expect(commandOf(form)).toContain("--snapshot-every 10m --on-loss hibernate --env 'A=1' --env 'B=x=y' --port 8888 --port 6006 --exclude '*.tmp' --storage mine");
});

test("a bid is told of only where there are bids", () => {
  expect(commandOf({ ...START, headroom: 50 })).not.toContain("bid");
  expect(requestOf({ ...START, interruptible: true, headroom: 50 })).toMatchObject({ interruptible: true, bid_headroom: 0.5 });
});
