import { describe, expect, test } from "vitest";
import { bytes, count, moment, secondsBetween, span, usd, usdPerHour } from "@/lib/format";

describe("numbers for people", () => {
  test.each([
    [0.001, "< 0.1 s"],
    [0.4, "0.4 s"],
    [59.6, "60 s"],
    [61, "1 min 1 s"],
    [180, "3 min"],
    [3_700, "1 h 1 min"],
    [90_000, "1 d 1 h"],
    [-3, "0.0 s"],
  ])("%d seconds are %s", (seconds, words) => expect(span(seconds)).toBe(words));

  test("money keeps the digits that matter", () => {
    expect(usdPerHour("0.2951")).toBe("$0.295/h");
    expect(usd("0.00123")).toBe("$0.0012");
    expect(usd("0")).toBe("$0.00");
    expect(usd("0.00002")).toBe("< $0.0001");
    expect(usd("12.3456")).toBe("$12.35");
  });

  test("bytes", () => {
    expect(bytes(999)).toBe("999 B");
    expect(bytes(1_500_000)).toBe("1.5 MB");
  });

  test("one of a thing is not many", () => expect([count(1, "file"), count(1200, "file")]).toEqual(["1 file", "1,200 files"]));

  test("today is told by the clock, another day with its date", () => {
    const now = new Date("2026-11-25T12:00:00Z");
    expect(moment("2026-11-25T11:00:00Z", now)).not.toMatch(/Nov|25/);
    expect(moment("2026-11-20T11:00:00Z", now)).toMatch(/20/);
  });

  test("no span without both ends", () => expect(secondsBetween("2026-01-01T00:00:00Z", null)).toBeNull());
});
