import { useDispatch, useSelector } from "react-redux";
import type { SessionState } from "@/api/session";

export const useSession = (): SessionState => useSelector((state: { session: SessionState }) => state.session);
export const useAppDispatch = useDispatch;
