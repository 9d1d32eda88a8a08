import { expect, test } from "vitest";
import { csvOf } from "@/features/usage/csv";

test("cells with commas, quotes and line ends stay one cell", () => {
  expect(csvOf([{ a: 'x,"y"', b: "1\n2", c: null }])).toBe('a,b,c\n"x,""y""","1\n2",\n');
});

test("no cell is a formula", () => expect(csvOf([{ a: "=1+1" }])).toBe("a\n'=1+1\n"));
