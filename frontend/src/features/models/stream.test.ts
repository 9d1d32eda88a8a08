import { afterEach, expect, test, vi } from "vitest";
import { chat, PARAMETERS, piecesOf } from "@/features/models/stream";

afterEach(() => vi.unstubAllGlobals());

test("events may be cut anywhere", () => {
  const whole = 'data: {"choices":[{"delta":{"content":"a"}}]}\n\ndata: {"choices":[{"delta":{"content":" b"}}]}\n\ndata: [DONE]\n\n';
  for (let cut = 0; cut <= whole.length; cut += 1) {
    const first = piecesOf(whole.slice(0, cut));
    const second = piecesOf(first.rest + whole.slice(cut));
    expect([...first.pieces, ...second.pieces].join("")).toBe("a b");
  }
});

test("an error in the stream is told", () => expect(piecesOf('data: {"error":{"message":"it broke"}}\n\n').error).toBe("it broke"));

test("the system prompt and the parameters are asked with, and an answer in one piece is taken as well", async () => {
  const asked = vi.fn(async (_: string, { body }: { body: string }) => Response.json({ choices: [{ message: { content: `heard ${(JSON.parse(body) as { messages: unknown[] }).messages.length}` } }] }));
  vi.stubGlobal("fetch", asked);
  const told: string[] = [];
  const parameters = { ...PARAMETERS, system: "be short", temperature: 0, maxTokens: 7 };
  const figures = await chat("http://here/v1", "dm-key", "m", [{ role: "user", content: "hi" }], parameters, new AbortController().signal, (text) => told.push(text));
  expect(told).toEqual(["heard 2"]);
  expect(figures.firstS).not.toBeNull();
  expect(JSON.parse(asked.mock.calls[0]![1].body)).toMatchObject({ messages: [{ role: "system", content: "be short" }, { role: "user" }], temperature: 0, max_tokens: 7 });
});
