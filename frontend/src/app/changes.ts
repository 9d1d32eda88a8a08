/** What came to rest between two looks at the instances, in words for the corner. */
import type { InstanceView } from "@/api";

type Seen = Pick<InstanceView, "id" | "name" | "state" | "failure">;

const WORDS: Record<string, (name: string) => string> = {
  running: (name) => `${name} is running`,
  hibernated: (name) => `${name} sleeps; no machine is paid for`,
  on_standby: (name) => `${name} serves from its standby`,
  failed: (name) => `${name} failed`,
};

export interface Change {
  id: string;
  words: string;
  bad: boolean;
  why: string | null;
}

export function changes(before: ReadonlyMap<string, string>, now: readonly Seen[]): Change[] {
  return now.flatMap((one) => {
    const was = before.get(one.id);
    const words = WORDS[one.state];
    if (was === undefined || was === one.state || words === undefined) return [];
    return [{ id: one.id, words: words(one.name), bad: one.failure !== null, why: one.failure }];
  });
}
