import { expect, test } from "vitest";
import { keptBy } from "@/features/instances/retention";

const at = (id: string, created_at: string, pinned = false) => ({ id, created_at, pinned });
const none = { last: 1, hourly: 0, daily: 0, weekly: 0 };

test("the newest stays whatever the rules say, and so does what is pinned", () => {
  const found = keptBy([at("old", "2026-11-01T00:00:00Z", true), at("new", "2026-11-02T00:00:00Z"), at("mid", "2026-11-01T12:00:00Z")], none);
  expect(Object.fromEntries(found)).toEqual({ new: "the newest", old: "pinned" });
});

test("of an hour, a day and a week the newest stays, by UTC and weeks from Monday", () => {
  const snapshots = [
    at("sun", "2026-11-22T23:59:00Z"),
    at("mon", "2026-11-23T00:01:00Z"),
    at("tue-8", "2026-11-24T08:10:00Z"),
    at("tue-8-later", "2026-11-24T08:50:00Z"),
    at("tue-9", "2026-11-24T09:00:00Z"),
  ];
  expect([...keptBy(snapshots, { ...none, hourly: 2 }).keys()].sort()).toEqual(["tue-8-later", "tue-9"]);
  expect([...keptBy(snapshots, { ...none, daily: 2 }).keys()].sort()).toEqual(["mon", "tue-9"]);
  expect([...keptBy(snapshots, { ...none, weekly: 2 }).keys()].sort()).toEqual(["sun", "tue-9"]);
});
