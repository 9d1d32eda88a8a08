import { expect, test } from "vitest";
import { problemOf } from "@/api/errors";

test.each([
  [{ status: 503, data: { success: false, error: { code: "unavailable", message: "Later.", request_id: "r-1" } } }, "Something does not answer", "Later.", "r-1"],
  [{ status: 500, data: { success: false, error: { code: "never_heard_of", message: "Odd." } } }, "It did not work", "Odd.", null],
  [{ status: "FETCH_ERROR", error: "TypeError: Failed to fetch" }, "Offline", "cannot be reached", null],
  [{ status: "TIMEOUT_ERROR", error: "AbortError" }, "No answer", "too long", null],
  [{ status: "PARSING_ERROR", originalStatus: 502, data: "<html>", error: "SyntaxError" }, "Not an answer of the API", "status 502", null],
  [{ message: "The snapshot failed." }, "It did not work", "The snapshot failed.", null],
  [undefined, "It did not work", "could not be understood", null],
])("%j is put into words", (error, title, words, requestId) => {
  const problem = problemOf(error);
  expect(problem.title).toBe(title);
  expect(problem.message).toContain(words);
  expect(problem.requestId).toBe(requestId);
});
