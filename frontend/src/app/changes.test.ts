import { expect, test } from "vitest";
import { changes } from "@/app/changes";

const one = (state: string, failure: string | null = null) => ({ id: "i-1", name: "train", state, failure });

test("the first look tells nothing: nothing has changed yet", () => expect(changes(new Map(), [one("running")])).toEqual([]));

test("what came to rest is told once, what is on its way is not", () => {
  expect(changes(new Map([["i-1", "waking"]]), [one("running")]).map((it) => it.words)).toEqual(["train is running"]);
  expect(changes(new Map([["i-1", "running"]]), [one("running")])).toEqual([]);
  expect(changes(new Map([["i-1", "running"]]), [one("hibernating")])).toEqual([]);
});

test("a bad end carries its reason", () => {
  const [told] = changes(new Map([["i-1", "provisioning"]]), [one("failed", "no machine became ready")]);
  expect(told).toMatchObject({ bad: true, why: "no machine became ready" });
});
