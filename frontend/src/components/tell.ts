import { problemOf } from "@/api/errors";

/** Says how an action went, in the corner. True when it worked. */
export async function tell(words: string, act: Promise<unknown>): Promise<boolean> {
  // Its end is taken before anything else is waited for: a refusal must not look like nobody's.
  const ended = act.then(
    () => null,
    (error: unknown) => problemOf(error),
  );
  // What shows it comes with the first action, not with the page.
  const { toast } = await import("sonner");
  const problem = await ended;
  if (problem) toast.error(problem.title, { description: problem.message });
  else toast.success(words);
  return problem === null;
}
