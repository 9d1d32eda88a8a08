import { expect, test } from "vitest";
import { piecesOf } from "@/features/models/stream";

test("events may be cut anywhere", () => {
  const whole = 'data: {"choices":[{"delta":{"content":"a"}}]}\n\ndata: {"choices":[{"delta":{"content":" b"}}]}\n\ndata: [DONE]\n\n';
  for (let cut = 0; cut <= whole.length; cut += 1) {
    const first = piecesOf(whole.slice(0, cut));
    const second = piecesOf(first.rest + whole.slice(cut));
    expect([...first.pieces, ...second.pieces].join("")).toBe("a b");
  }
});

test("an error in the stream is told", () => expect(piecesOf('data: {"error":{"message":"it broke"}}\n\n').error).toBe("it broke"));
