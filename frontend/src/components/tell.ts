import { toast } from "sonner";
import { problemOf } from "@/api/errors";

/** Says how an action went, in the corner. True when it worked. */
export async function tell(words: string, act: Promise<unknown>): Promise<boolean> {
  try {
    await act;
    toast.success(words);
    return true;
  } catch (error) {
    const problem = problemOf(error);
    toast.error(problem.title, { description: problem.message });
    return false;
  }
}
