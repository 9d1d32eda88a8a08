import { expect, test } from "vitest";
import { can, isPassing, whyNot } from "@/api/can";
import { ACTIONS, MEANING, RESTING, type Action, type State } from "@/api/lifecycle.gen";
import { problemOf } from "@/api/errors";

test("an action is allowed exactly where the generated table says", () => {
  for (const action of Object.keys(ACTIONS) as Action[]) {
    for (const state of Object.keys(MEANING) as State[]) {
      const allowed = (ACTIONS[action] as readonly string[]).includes(state);
      expect(can(action, { state })).toBe(allowed);
      expect(whyNot(action, { state }) === null).toBe(allowed);
    }
  }
});

test("a refusal says what is needed and what is", () => {
  expect(whyNot("wake", { state: "running" })).toBe("Needs hibernated; it is running.");
});

test("passing is what is not resting", () => {
  for (const state of Object.keys(MEANING) as State[]) expect(isPassing({ state })).toBe(!RESTING.includes(state));
});

test("an error keeps its request id and reads as words", () => {
  const problem = problemOf({ status: 409, data: { error: { code: "illegal_transition", message: "It is running.", request_id: "r-7" } } });
  expect(problem).toEqual({ title: "Not possible now", message: "It is running.", requestId: "r-7", status: 409 });
  expect(problemOf({ status: "FETCH_ERROR" }).title).toBe("Offline");
  expect(problemOf(undefined).title).toBe("It did not work");
});
