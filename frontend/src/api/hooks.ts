import { useDispatch, useSelector } from "react-redux";
import { api, MOVES } from "@/api";
import type { SessionState } from "@/api/session";

export const useSession = (): SessionState => useSelector((state: { session: SessionState }) => state.session);
/**
 * How long between two looks, in ms. Every look costs the database reads: an open tab that rests asks at most twice a minute in
 * all, so a page that looks at more than the instances' list takes `detail` for it. What moves is looked at once a second in all: what
 * the page is about in `motion`, what stands beside it in `beside`.
 */
export const PACE = { motion: 1_500, beside: 3_000, rest: 60_000, detail: 180_000, failing: 10_000 } as const;

/** Whether something was asked for that sets an instance in motion: that begins before the call is answered. */
export const useAsking = (): boolean =>
  useSelector((state: { [api.reducerPath]: ReturnType<typeof api.reducer> }) =>
    Object.values(state[api.reducerPath].mutations).some((one) => one?.status === "pending" && MOVES.includes(one.endpointName)),
  );

export const useAppDispatch = useDispatch;
