import { api } from "@/api";

export const useStartExecMutation = api.endpoints.startExec.useMutation;
export const useLazyShowExecQuery = api.endpoints.showExec.useLazyQuery;
