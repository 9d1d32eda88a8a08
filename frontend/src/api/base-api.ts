/** How the generated client talks: bearer token, one refresh for everyone who needs it, then the login page. */
import { createApi, fetchBaseQuery, type BaseQueryApi, type BaseQueryFn, type FetchArgs, type FetchBaseQueryError } from "@reduxjs/toolkit/query/react";
import { ended, keptToken, renewed, type SessionState } from "@/api/session";

/** A function that starts cold and asks three providers answers within this; what `wait` asks for comes on top. */
const TIMEOUT_MS = 30_000;
/** A refusal of a token this young is not about its age: another refresh would be refused as well. */
const YOUNG_MS = 30_000;
/** These make tokens, or end them; they need none. */
const OPEN = ["/auth/login", "/auth/refresh", "/auth/logout"];

const raw = fetchBaseQuery({
  baseUrl: `${location.origin}/api/v1`,
  prepareHeaders: (headers, { getState }) => {
    const { accessToken } = (getState() as { session: SessionState }).session;
    if (accessToken) headers.set("Authorization", `Bearer ${accessToken}`);
    return headers;
  },
});

type Answer = Awaited<ReturnType<typeof raw>>;

/** Something between here and the API may answer in its place: a proxy's page with status 200 is no success. */
function checked(answer: Answer): Answer {
  if (answer.error) return answer;
  const body = answer.data as { success?: unknown; data?: unknown } | null;
  if (body?.success === true && typeof body.data === "object" && body.data !== null) return answer;
  const status = answer.meta?.response?.status ?? 200;
  return { error: { status: "PARSING_ERROR", originalStatus: status, data: JSON.stringify(body), error: "not an answer of the API" }, meta: answer.meta };
}

async function send(args: FetchArgs, api: BaseQueryApi, extra: object): Promise<Answer> {
  const wait = Number((args.params as { wait?: number } | undefined)?.wait ?? 0);
  return checked(await raw({ timeout: TIMEOUT_MS + wait * 1000, ...args }, api, extra));
}

let renewing: Promise<FetchBaseQueryError | null> | null = null;

/** New tokens, asked for once however many wait for them. Null when they came. */
function renew(api: BaseQueryApi, extra: object): Promise<FetchBaseQueryError | null> {
  renewing ??= (async () => {
    // Another tab may have been first: what is kept is newer than what this tab remembers.
    const refresh_token = keptToken() ?? session(api).refreshToken;
    const answer = await send({ url: "/auth/refresh", method: "POST", body: { refresh_token } }, api, extra);
    if (answer.error) {
      // Only a refusal ends the session; an outage does not.
      if (answer.error.status === 401) api.dispatch(ended("Your session has ended. Log in again."));
      return answer.error;
    }
    const { data } = answer.data as { data: { access_token: string; refresh_token: string; expires_in: number } };
    api.dispatch(renewed({ accessToken: data.access_token, refreshToken: data.refresh_token, expiresIn: data.expires_in }));
    return null;
  })().finally(() => {
    renewing = null;
  });
  return renewing;
}

const session = (api: BaseQueryApi): SessionState => (api.getState() as { session: SessionState }).session;

const withRefresh: BaseQueryFn<string | FetchArgs, unknown, FetchBaseQueryError> = async (given, api, extra) => {
  const args = typeof given === "string" ? { url: given } : given;
  if (OPEN.some((path) => args.url.startsWith(path))) return send(args, api, extra);
  const before = session(api);
  if (before.refreshToken && (!before.accessToken || Date.now() >= before.renewAt)) {
    // Ahead of the call, so that no page opens with a round of refusals.
    const error = await renew(api, extra);
    if (error) return { error };
  }
  const used = session(api).accessToken;
  const answer = await send(args, api, extra);
  if (answer.error?.status !== 401 || !session(api).refreshToken) return answer;
  // A refresh that another call asked for may have come in between: then the new token was not tried yet.
  const tried = session(api).accessToken === used;
  if (tried && Date.now() - session(api).renewedAt < YOUNG_MS) return answer;
  if (tried && (await renew(api, extra))) return answer;
  return send(args, api, extra);
};

export const baseApi = createApi({
  reducerPath: "api",
  baseQuery: withRefresh,
  endpoints: () => ({}),
  refetchOnFocus: true,
  refetchOnReconnect: true,
});
