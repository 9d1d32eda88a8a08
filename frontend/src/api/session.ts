/** Who is logged in: the access token in memory, the refresh token kept for the next visit. */
import { createSlice, type PayloadAction } from "@reduxjs/toolkit";

const KEY = "dumont-refresh";

export interface SessionState {
  accessToken: string | null;
  refreshToken: string | null;
  notice: string | null;
}

function kept(): string | null {
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

const initialState: SessionState = { accessToken: null, refreshToken: kept(), notice: null };

const slice = createSlice({
  name: "session",
  initialState,
  reducers: {
    renewed(state, { payload }: PayloadAction<{ accessToken: string; refreshToken: string }>) {
      keep(payload.refreshToken);
      state.accessToken = payload.accessToken;
      state.refreshToken = payload.refreshToken;
      state.notice = null;
    },
    ended(state, { payload }: PayloadAction<string | null>) {
      keep(null);
      state.accessToken = null;
      state.refreshToken = null;
      state.notice = payload;
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
