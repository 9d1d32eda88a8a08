/** How the generated client talks: bearer token, one refresh for everyone who meets a 401, then the login page. */
import { createApi, fetchBaseQuery, type BaseQueryFn, type FetchArgs, type FetchBaseQueryError } from "@reduxjs/toolkit/query/react";
import { ended, renewed, type SessionState } from "@/api/session";

const raw = fetchBaseQuery({
  baseUrl: `${location.origin}/api/v1`,
  timeout: 75_000,
  prepareHeaders: (headers, { getState }) => {
    const { accessToken } = (getState() as { session: SessionState }).session;
    if (accessToken) headers.set("Authorization", `Bearer ${accessToken}`);
    return headers;
  },
});

let refreshing: Promise<boolean> | null = null;

const withRefresh: BaseQueryFn<string | FetchArgs, unknown, FetchBaseQueryError> = async (args, api, extra) => {
  let result = await raw(args, api, extra);
  const session = (api.getState() as { session: SessionState }).session;
  const url = typeof args === "string" ? args : args.url;
  if (result.error?.status === 401 && session.refreshToken && !url.startsWith("/auth/refresh") && !url.startsWith("/auth/login")) {
    refreshing ??= (async () => {
      const answer = await raw(
        { url: "/auth/refresh", method: "POST", body: { refresh_token: session.refreshToken } },
        api,
        extra,
      );
      if (answer.data) {
        const { data } = answer.data as { data: { access_token: string; refresh_token: string } };
        api.dispatch(renewed({ accessToken: data.access_token, refreshToken: data.refresh_token }));
        return true;
      }
      // Only a refusal ends the session; an outage does not.
      if (answer.error?.status === 401) api.dispatch(ended("Your session has ended. Log in again."));
      return false;
    })().finally(() => {
      refreshing = null;
    });
    if (await refreshing) result = await raw(args, api, extra);
  }
  return result;
};

export const baseApi = createApi({
  reducerPath: "api",
  baseQuery: withRefresh,
  endpoints: () => ({}),
  refetchOnFocus: true,
  refetchOnReconnect: true,
});
