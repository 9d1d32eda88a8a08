/** The generated client, with what changes what. Pages import from here. */
import { api as generated } from "@/api/api.gen";

const changed = { invalidatesTags: ["instances" as const, "snapshots" as const] };

/** What sets an instance in motion. */
export const MOVES: readonly string[] = ["provision", "wake", "hibernate", "destroy", "failOver", "cloneSnapshot"];

export const api = generated.enhanceEndpoints({
  endpoints: {
    provision: changed,
    wake: changed,
    hibernate: changed,
    destroy: changed,
    takeSnapshot: changed,
    restoreSnapshot: changed,
    cloneSnapshot: changed,
    removeSnapshot: changed,
    editInstance: changed,
    startExec: { invalidatesTags: [] },
    putStandby: { invalidatesTags: ["instances", "standby"] },
    deleteStandby: { invalidatesTags: ["instances", "standby"] },
    failOver: changed,
    setBudget: { invalidatesTags: ["usage"] },
    setInstanceBudget: { invalidatesTags: ["usage"] },
    blockMachine: { invalidatesTags: ["machines", "market"] },
    unblockMachine: { invalidatesTags: ["machines", "market"] },
    endSession: { invalidatesTags: ["auth"] },
    endOtherSessions: { invalidatesTags: ["auth"] },
    login: { invalidatesTags: [] },
    logout: { invalidatesTags: [] },
  },
});
export * from "@/api/api.gen";
