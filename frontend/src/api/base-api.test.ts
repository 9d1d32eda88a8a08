import { configureStore } from "@reduxjs/toolkit";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { api } from "@/api";
import { renewed, sessionReducer } from "@/api/session";

const answer = (status: number, body: unknown) => new Response(JSON.stringify(body), { status, headers: { "Content-Type": "application/json" } });
const fine = (data: object = {}) => answer(200, { success: true, data });
const broken = (status: number, code: string) => answer(status, { success: false, error: { code, message: "no", request_id: "r" } });
const refused = () => broken(401, "unauthenticated");
const pair = (number: number) => fine({ access_token: `access-${number}`, refresh_token: `refresh-${number}`, expires_in: 900 });
const MINUTE = 60_000;

function makeStore() {
  const store = configureStore({
    reducer: { session: sessionReducer, [api.reducerPath]: api.reducer },
    middleware: (defaults) => defaults().concat(api.middleware),
  });
  store.dispatch(renewed({ accessToken: "access-1", refreshToken: "refresh-1", expiresIn: 900 }));
  return store;
}

const { whoAmI, listKeys, listPools } = api.endpoints;
let fetched: string[];
beforeEach(() => {
  fetched = [];
  vi.useFakeTimers({ toFake: ["Date"] });
});
afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
  localStorage.clear();
});
const later = (ms: number) => vi.setSystemTime(Date.now() + ms);

function serve(handle: (path: string, token: string | null, body: Record<string, string>) => Response | Promise<Response>) {
  vi.stubGlobal("fetch", async (request: Request) => {
    const path = new URL(request.url).pathname.replace("/api/v1", "");
    fetched.push(path);
    return handle(path, request.headers.get("Authorization"), request.method === "POST" ? await request.json() : {});
  });
}

test("many calls that meet an old token share one refresh", async () => {
  const store = makeStore();
  later(MINUTE);
  serve((path, token) => (path === "/auth/refresh" ? pair(2) : token === "Bearer access-2" ? fine() : refused()));
  const results = await Promise.all([store.dispatch(whoAmI.initiate()), store.dispatch(listKeys.initiate()), store.dispatch(listPools.initiate())]);
  expect(results.every((one) => one.isSuccess)).toBe(true);
  expect(fetched.filter((path) => path === "/auth/refresh")).toHaveLength(1);
  expect(store.getState().session.refreshToken).toBe("refresh-2");
});

test("a refusal that comes after another call's refresh tries the new token, not a second refresh", async () => {
  const store = makeStore();
  later(MINUTE);
  let release = () => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  serve(async (path, token) => {
    if (path === "/auth/refresh") return pair(2);
    if (path === "/pools" && token === "Bearer access-1") await held;
    return token === "Bearer access-2" ? fine() : refused();
  });
  const slow = store.dispatch(listPools.initiate());
  await store.dispatch(whoAmI.initiate());
  release();
  expect((await slow).isSuccess).toBe(true);
  expect(fetched.filter((path) => path === "/auth/refresh")).toHaveLength(1);
});

test("a token near its end is replaced before the call that would meet its end", async () => {
  const store = makeStore();
  serve((path, token) => (path === "/auth/refresh" ? pair(2) : token === "Bearer access-2" ? fine() : refused()));
  later(14 * MINUTE);
  await Promise.all([store.dispatch(whoAmI.initiate()), store.dispatch(listKeys.initiate())]);
  expect(fetched).toEqual(["/auth/refresh", "/auth/me", "/auth/keys"]);
});

test("the refresh uses what another tab was given since", async () => {
  const store = makeStore();
  localStorage.setItem("dumont-refresh", "refresh-of-the-other-tab");
  later(14 * MINUTE);
  serve((path, _, body) => {
    if (path !== "/auth/refresh") return fine();
    return body.refresh_token === "refresh-of-the-other-tab" ? pair(2) : refused();
  });
  expect((await store.dispatch(whoAmI.initiate())).isSuccess).toBe(true);
});

test("a refused refresh ends the session once, with words and without a loop", async () => {
  const store = makeStore();
  later(MINUTE);
  serve(() => refused());
  await store.dispatch(whoAmI.initiate());
  expect(store.getState().session.refreshToken).toBeNull();
  expect(store.getState().session.notice).toContain("ended");
  expect(fetched).toEqual(["/auth/me", "/auth/refresh"]);
});

test("a fresh token that is refused is not refreshed again and again", async () => {
  const store = makeStore();
  later(MINUTE);
  serve((path) => (path === "/auth/refresh" ? pair(2) : refused()));
  await store.dispatch(whoAmI.initiate());
  await store.dispatch(listKeys.initiate());
  await store.dispatch(listPools.initiate());
  expect(fetched.filter((path) => path === "/auth/refresh")).toHaveLength(1);
  expect(store.getState().session.refreshToken).toBe("refresh-2");
});

test("an outage of the refresh does not end the session, and is what the caller is told", async () => {
  const store = makeStore();
  later(20 * MINUTE);
  serve(() => broken(503, "unavailable"));
  const { error } = await store.dispatch(whoAmI.initiate());
  expect(error).toMatchObject({ status: 503 });
  expect(fetched).toEqual(["/auth/refresh"]);
  expect(store.getState().session.refreshToken).toBe("refresh-1");
});

test.each([
  ["a page", () => new Response("<html>Please log in to this network</html>", { status: 200, headers: { "Content-Type": "text/html" } })],
  ["other JSON", () => answer(200, { hello: 1 })],
  ["nothing at all", () => new Response("", { status: 200 })],
  ["success without data", () => answer(200, { success: true })],
])("%s with status 200 is an error, not data", async (_, made) => {
  const store = makeStore();
  serve(made);
  expect((await store.dispatch(whoAmI.initiate())).error).toMatchObject({ status: "PARSING_ERROR", originalStatus: 200 });
});
