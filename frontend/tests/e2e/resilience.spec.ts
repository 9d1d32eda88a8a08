/** Every page against an API that fails in every way it can: something readable, a way out, no storm of calls. */
import type { Page, Route } from "@playwright/test";
import { callsOf, cloud, destroyed, expect, pages, running, test, type Made } from "./cloud";

const API = "**/api/v1/**";
const REQUEST = "r-0123456789abcdef";
const refusal = (status: number, code: string, message: string) => (route: Route) =>
  route.fulfill({
    status,
    contentType: "application/json",
    body: JSON.stringify({ success: false, error: { code, message, request_id: REQUEST } }),
  });

/** How it fails, and what must be read on the page. */
const FAILURES: Record<string, { act: (route: Route) => unknown; words: RegExp; slow?: boolean }> = {
  "500": { act: refusal(500, "internal_error", "something broke on our side"), words: new RegExp(`something broke on our side[\\s\\S]*${REQUEST}`) },
  "refuses a fresh token": { act: refusal(401, "unauthenticated", "the access token is not ours"), words: new RegExp(`not ours[\\s\\S]*${REQUEST}`) },
  "answers with a proxy's page": {
    act: (route) => route.fulfill({ status: 200, contentType: "text/html", body: "<!doctype html><h1>Welcome to this network</h1>" }),
    words: /answered with status 200/,
  },
  "never answers": { act: () => undefined, words: /took too long/, slow: true },
  "cannot be reached": { act: (route) => route.abort("internetdisconnected"), words: /cannot be reached/ },
};

let instance: Made;
test.beforeAll(async () => {
  instance = await running("resilient");
});
test.afterAll(async () => {
  await destroyed(instance.id);
});

/** How often the address that was asked for most often was. */
const most = (asked: readonly string[]): number => Math.max(...asked.map((one) => asked.filter((other) => other === one).length));

/** Any token will do where every call is answered by the test. */
const remembered = (page: Page) => page.addInitScript(() => localStorage.setItem("dumont-refresh", "dr_remembered"));

const renewal = (route: Route) =>
  route.fulfill({ json: { success: true, data: { access_token: "fresh", refresh_token: "dr_remembered", expires_in: 900, token_type: "Bearer" } } });

for (const [how, { act, words, slow }] of Object.entries(FAILURES)) {
  test(`an API that ${/^\d/.test(how) ? `answers ${how}` : how} leaves every page readable`, async ({ page }) => {
    await remembered(page);
    await page.clock.install();
    const calls = callsOf(page);
    await page.route(API, (route) => (route.request().url().endsWith("/auth/refresh") ? renewal(route) : act(route)));
    for (const [name, path] of pages(instance.id)) {
      calls.clear();
      await page.goto(cloud.console_url + path);
      const alert = page.getByRole("main").getByRole("alert").first();
      // What gives up by the clock has not begun to wait when the page has hardly opened.
      await expect(async () => {
        if (slow) await page.clock.runFor(31_000);
        await expect(alert, name).toContainText(words, { timeout: slow ? 300 : undefined });
      }).toPass();
      // Time passes: what asks again and again would show now.
      await page.clock.runFor(20_000);
      for (const each of await page.getByRole("alert").all()) {
        await expect(each.getByRole("button", { name: /Try again|Reload/ }), name).toBeVisible();
        await expect(each, name).toContainText(words);
      }
      expect(most(calls.asked), `${name}: ${calls.asked.join()}`).toBeLessThanOrEqual(slow ? 2 : 1);
    }
  });
}

test("what came back is shown when asked for again", async ({ page }) => {
  await page.goto(cloud.console_url);
  await page.getByLabel("Email").fill(cloud.demo.email);
  await page.getByLabel("Password").fill(cloud.demo.password);
  await page.route("**/api/v1/auth/login", refusal(500, "internal_error", "not now"));
  await page.getByRole("button", { name: "Log in" }).click();
  await expect(page.getByRole("alert")).toContainText(REQUEST);
  await page.unroute("**/api/v1/auth/login");
  await page.getByRole("button", { name: "Log in" }).click();
  await expect(page.getByRole("heading", { level: 1, name: "Instances" })).toBeVisible();
  for (const [name, path] of pages(instance.id)) {
    await page.route(API, (route) => (route.request().url().includes("/auth/") ? route.continue() : refusal(500, "internal_error", "not now")(route)));
    await page.goto(cloud.console_url + path);
    // What stands above the pages fails as well, and no part may wait for another.
    await expect(page.getByRole("main").locator("h1, [role=alert]").first(), name).toBeVisible();
    await page.unroute(API);
    const again = page.getByRole("button", { name: "Try again" });
    await expect
      .poll(async () => {
        if ((await again.count()) > 0) await again.first().click({ timeout: 2_000 }).catch(() => undefined);
        return page.getByRole("alert").count();
      }, { message: name })
      .toBe(0);
    await expect(page.getByRole("heading", { level: 1 }), name).toBeVisible();
  }
});

test("a refused session is renewed once, then every page leads to the login and back", async ({ page }) => {
  await remembered(page);
  const calls = callsOf(page);
  await page.route(API, refusal(401, "unauthenticated", "this session is over; log in again"));
  for (const [name, path] of pages(instance.id)) {
    calls.clear();
    await page.goto(cloud.console_url + path);
    await expect(page.getByText("Your session has ended"), name).toBeVisible();
    expect(calls.asked, name).toEqual(["/auth/refresh"]);
    expect(new URL(page.url()).searchParams.get("to"), name).toBe(path);
  }
});

test.describe("files that do not come", () => {
  test.use({ tolerated: /Failed to load resource|dynamically imported module/ });

  test("a page whose file does not come leaves the others", async ({ page }) => {
    await remembered(page);
    await page.route(API, (route) => (route.request().url().endsWith("/auth/refresh") ? renewal(route) : refusal(503, "unavailable", "later")(route)));
    await page.goto(cloud.console_url);
    await expect(page.getByRole("alert")).toBeVisible();
    await page.route("**/assets/*-page-*.js", (route) => route.abort());
    await page.getByRole("navigation", { name: "Main" }).getByRole("link", { name: "Market" }).click();
    await expect(page.getByRole("heading", { level: 1, name: "This part could not be loaded" })).toBeVisible();
    await page.unroute("**/assets/*-page-*.js");
    await page.getByRole("button", { name: "Reload" }).click();
    await expect(page.getByRole("heading", { level: 1, name: "Market" })).toBeVisible();
  });

  test("parts of an instance's page that do not come leave the rest of it", async ({ page }) => {
    await page.route(/\/assets\/(metrics|snapshots|standby-card|terminal|notifications)-.*\.js/, (route) => route.abort());
    await page.goto(`${cloud.console_url}/login?to=/instances/${instance.id}`);
    await page.getByLabel("Email").fill(cloud.demo.email);
    await page.getByLabel("Password").fill(cloud.demo.password);
    await page.getByRole("button", { name: "Log in" }).click();
    await expect(page.getByRole("heading", { level: 1, name: instance.name })).toBeVisible();
    await expect(page.getByText("This part could not be loaded").first()).toBeVisible();
    await expect(page.getByRole("button", { name: "Hibernate" })).toBeEnabled();
  });
});
