/** What an instance's state allows: the only test of states in the console. */
import { ACTIONS, RESTING, type Action, type State } from "@/api/lifecycle.gen";

type Stated = { state: string };

export const isPassing = (instance: Stated): boolean => !RESTING.includes(instance.state as State);

export const can = (action: Action, instance: Stated): boolean =>
  (ACTIONS[action] as readonly string[]).includes(instance.state);

/** Why a button is disabled, or null. */
export const whyNot = (action: Action, instance: Stated): string | null =>
  can(action, instance) ? null : `Needs ${ACTIONS[action].join(" or ").replaceAll("_", " ")}; it is ${instance.state.replaceAll("_", " ")}.`;
