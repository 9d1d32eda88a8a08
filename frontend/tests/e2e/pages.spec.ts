import { accessible, call, cloud, expect, logIn, shot, test } from "./cloud";

const PAGES: [string, string, string][] = [
  ["instances", "/", "Instances"],
  ["deploy", "/deploy", "Deploy"],
  ["market", "/market", "Market"],
  ["machines", "/machines", "Machines"],
  ["models", "/models", "Models"],
  ["usage", "/usage", "Usage"],
  ["settings", "/settings", "Settings"],
];

for (const theme of ["light", "dark"] as const) {
  for (const width of [1280, 360]) {
    test(`every page is accessible and fits, ${theme}, ${width} px`, async ({ page }) => {
      await page.setViewportSize({ width, height: 800 });
      await page.emulateMedia({ colorScheme: theme });
      await page.goto(`${cloud.console_url}/login`);
      await accessible(page);
      await logIn(page);
      for (const [name, path, heading] of PAGES) {
        await page.goto(cloud.console_url + path);
        await expect(page.getByRole("heading", { level: 1, name: heading })).toBeVisible();
        await page.waitForLoadState("networkidle");
        await accessible(page);
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        expect(overflow, `${name} overflows by ${overflow} px`).toBeLessThanOrEqual(0);
        await shot(page, `${name}-${theme}-${width}`);
      }
      await page.goto(`${cloud.console_url}/deploy`);
      await expect(page.getByRole("button", { name: "Deploy now" })).toBeInViewport();
    });
  }
}

test("a session that was ended elsewhere leads to the login page and back", async ({ page }) => {
  await logIn(page);
  await page.goto(`${cloud.console_url}/settings`);
  // A refresh on its way would put a good token back.
  await page.waitForLoadState("networkidle");
  await page.evaluate(() => localStorage.setItem("dumont-refresh", "dr_stale"));
  await page.reload();
  await expect(page.getByText("Your session has ended")).toBeVisible();
  await page.getByLabel("Email").fill(cloud.demo.email);
  await page.getByLabel("Password").fill(cloud.demo.password);
  await page.getByRole("button", { name: "Log in" }).click();
  await expect(page.getByRole("heading", { name: "Settings" })).toBeVisible();
});

test("an API that fails leaves a readable page with a way out, and no loop", async ({ page }) => {
  await logIn(page);
  let asked = 0;
  await page.route("**/api/v1/offers*", (route) => {
    asked += 1;
    return route.fulfill({
      status: 503,
      contentType: "application/json",
      body: JSON.stringify({ success: false, error: { code: "unavailable", message: "The market does not answer.", request_id: "r-1" } }),
    });
  });
  await page.goto(`${cloud.console_url}/market`);
  const alert = page.getByRole("alert");
  await expect(alert).toContainText("The market does not answer.");
  await expect(alert).toContainText("r-1");
  await accessible(page);
  expect(asked).toBeLessThanOrEqual(2);
  await page.unroute("**/api/v1/offers*");
  await alert.getByRole("button", { name: "Try again" }).click();
  await expect(page.getByRole("region", { name: "Offers" })).toBeVisible();
});

test("an idle open tab asks little", async ({ page }) => {
  await logIn(page);
  await page.waitForLoadState("networkidle");
  let calls = 0;
  page.on("request", (request) => {
    if (request.url().includes("/api/v1/")) calls += 1;
  });
  await page.waitForTimeout(10_000);
  expect(calls).toBeLessThanOrEqual(1);
});

test("a key is shown once, and can be revoked", async ({ page }) => {
  await logIn(page);
  await page.goto(`${cloud.console_url}/settings`);
  await page.getByLabel("Name of a new key").fill("from the console");
  await page.getByRole("button", { name: "Make a key" }).click();
  const key = (await page.getByRole("group", { name: "API key" }).innerText()).trim();
  const me = await fetch(`${cloud.api_url}/api/v1/auth/me`, { headers: { Authorization: `Bearer ${key}` } });
  expect(me.status).toBe(200);
  await page.getByRole("button", { name: "Revoke from the console" }).click();
  await page.getByRole("button", { name: "Revoke it" }).click();
  await expect.poll(async () => (await fetch(`${cloud.api_url}/api/v1/auth/me`, { headers: { Authorization: `Bearer ${key}` } })).status).toBe(401);
  await page.reload();
  await expect(page.getByLabel("Name of a new key")).toBeVisible();
  await expect(page.getByText(key)).toHaveCount(0);
});

test("what the markup says is all that the page loads", async ({ page }) => {
  const elsewhere: string[] = [];
  page.on("request", (request) => {
    if (!request.url().startsWith(cloud.console_url) && !request.url().startsWith("data:")) elsewhere.push(request.url());
  });
  await logIn(page);
  await call("GET", "/auth/me");
  expect(elsewhere).toEqual([]);
});
