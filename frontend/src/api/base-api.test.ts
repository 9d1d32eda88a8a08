import { configureStore } from "@reduxjs/toolkit";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { api } from "@/api";
import { renewed, sessionReducer } from "@/api/session";

const answer = (status: number, body: unknown) => new Response(JSON.stringify(body), { status, headers: { "Content-Type": "application/json" } });
const refused = () => answer(401, { success: false, error: { code: "unauthenticated", message: "no", request_id: "r" } });

function makeStore() {
  const store = configureStore({
    reducer: { session: sessionReducer, [api.reducerPath]: api.reducer },
    middleware: (defaults) => defaults().concat(api.middleware),
  });
  store.dispatch(renewed({ accessToken: "old", refreshToken: "refresh-1" }));
  return store;
}

let fetched: string[];
beforeEach(() => {
  fetched = [];
});
afterEach(() => vi.unstubAllGlobals());

function serve(handle: (path: string, token: string | null) => Response) {
  vi.stubGlobal("fetch", async (request: Request) => {
    const path = new URL(request.url).pathname.replace("/api/v1", "");
    fetched.push(path);
    return handle(path, request.headers.get("Authorization"));
  });
}

test("many calls that meet an old token share one refresh", async () => {
  const store = makeStore();
  serve((path, token) => {
    if (path === "/auth/refresh") return answer(200, { success: true, data: { access_token: "new", refresh_token: "refresh-2" } });
    return token === "Bearer new" ? answer(200, { success: true, data: {} }) : refused();
  });
  const results = await Promise.all([
    store.dispatch(api.endpoints.whoAmI.initiate()),
    store.dispatch(api.endpoints.listKeys.initiate()),
    store.dispatch(api.endpoints.listPools.initiate()),
  ]);
  expect(results.every((one) => one.isSuccess)).toBe(true);
  expect(fetched.filter((path) => path === "/auth/refresh")).toHaveLength(1);
  expect(store.getState().session.refreshToken).toBe("refresh-2");
});

test("a refused refresh ends the session once, with words and without a loop", async () => {
  const store = makeStore();
  serve(() => refused());
  await store.dispatch(api.endpoints.whoAmI.initiate());
  expect(store.getState().session.refreshToken).toBeNull();
  expect(store.getState().session.notice).toContain("ended");
  expect(fetched).toEqual(["/auth/me", "/auth/refresh"]);
});

test("an outage of the refresh does not end the session", async () => {
  const store = makeStore();
  serve((path) => (path === "/auth/refresh" ? answer(503, { success: false, error: { code: "unavailable", message: "later", request_id: "r" } }) : refused()));
  await store.dispatch(api.endpoints.whoAmI.initiate());
  expect(store.getState().session.refreshToken).toBe("refresh-1");
});
