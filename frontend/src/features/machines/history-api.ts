import { api } from "@/api";

export const useLazyExportHistoryQuery = api.endpoints.exportHistory.useLazyQuery;
export const useImportHistoryMutation = api.endpoints.importHistory.useMutation;
