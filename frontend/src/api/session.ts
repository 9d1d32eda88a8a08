/** Who is logged in: the access token in memory, the refresh token kept for the next visit. */
import { createSlice, type PayloadAction } from "@reduxjs/toolkit";

const KEY = "dumont-refresh";

export interface SessionState {
  accessToken: string | null;
  refreshToken: string | null;
  /** When the access token came, and when a new one is asked for: by this machine's clock alone, which may be wrong. */
  renewedAt: number;
  renewAt: number;
  notice: string | null;
}

/** So long before its end an access token is replaced. */
const AHEAD_S = 60;

/** What any tab of this browser was given last. */
export function keptToken(): string | null {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}

function keep(token: string | null): void {
  try {
    if (token) localStorage.setItem(KEY, token);
    else localStorage.removeItem(KEY);
  } catch {
    // Private windows may refuse storage; the session then lasts as long as the tab.
  }
}

const initialState: SessionState = { accessToken: null, refreshToken: keptToken(), renewedAt: 0, renewAt: 0, notice: null };

const slice = createSlice({
  name: "session",
  initialState,
  reducers: {
    renewed: {
      prepare: (payload: { accessToken: string; refreshToken: string; expiresIn: number }) => ({ payload, meta: { at: Date.now() } }),
      reducer(state, { payload, meta }: PayloadAction<{ accessToken: string; refreshToken: string; expiresIn: number }, string, { at: number }>) {
        keep(payload.refreshToken);
        state.accessToken = payload.accessToken;
        state.refreshToken = payload.refreshToken;
        state.renewedAt = meta.at;
        state.renewAt = meta.at + Math.max(payload.expiresIn - AHEAD_S, payload.expiresIn / 2) * 1000;
        state.notice = null;
      },
    },
    ended(state, { payload }: PayloadAction<string | null>) {
      keep(null);
      Object.assign(state, { accessToken: null, refreshToken: null, renewedAt: 0, renewAt: 0, notice: payload });
    },
  },
});

/** The login that an access token belongs to; null when it cannot be read. */
export function sessionOf(accessToken: string | null): string | null {
  try {
    const claims = JSON.parse(atob((accessToken ?? "").split(".")[1]!.replaceAll("-", "+").replaceAll("_", "/"))) as { sid?: string };
    return claims.sid ?? null;
  } catch {
    return null;
  }
}

export const { renewed, ended } = slice.actions;
export const sessionReducer = slice.reducer;

/** A logout in one tab is one in every tab. */
export function followOtherTabs(end: () => void): void {
  addEventListener("storage", (event) => {
    if (event.key === KEY && event.newValue === null) end();
  });
}
