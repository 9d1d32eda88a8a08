/** A login's life: renewed without being noticed, ended elsewhere, followed by every tab. */
import { callsOf, cloud, expect, logIn, test } from "./cloud";

const MINUTE = 60_000;

test("the session is renewed in the background before its token ends", async ({ page }) => {
  await page.clock.install();
  await logIn(page);
  const refused: string[] = [];
  const calls = callsOf(page);
  page.on("response", (response) => {
    if (response.status() === 401) refused.push(response.url());
  });
  const before = await page.evaluate(() => localStorage.getItem("dumont-refresh"));
  for (let minute = 0; minute < 15; minute += 1) {
    await page.clock.runFor(MINUTE);
    await calls.answered();
  }
  expect(calls.asked.filter((path) => path === "/auth/refresh")).toHaveLength(1);
  expect(refused).toEqual([]);
  expect(await page.evaluate(() => localStorage.getItem("dumont-refresh"))).not.toBe(before);
  await expect(page.getByRole("heading", { level: 1, name: "Instances" })).toBeVisible();
});

test("a session that was ended elsewhere leads to the login page and back", async ({ page, context }) => {
  await logIn(page);
  await page.goto(`${cloud.console_url}/settings`);
  await expect(page.getByRole("list", { name: "Sessions" })).toBeVisible();
  // Closed meanwhile: a call of its own would meet the end first, and be counted.
  await page.goto("about:blank");
  // From another browser, as its owner would.
  const login = await fetch(`${cloud.api_url}/api/v1/auth/login`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ email: cloud.demo.email, password: cloud.demo.password }),
  });
  const { access_token, refresh_token } = ((await login.json()) as { data: { access_token: string; refresh_token: string } }).data;
  const ended = await fetch(`${cloud.api_url}/api/v1/auth/sessions/end-others`, {
    method: "POST",
    headers: { "Content-Type": "application/json", Authorization: `Bearer ${access_token}` },
    body: JSON.stringify({ refresh_token }),
  });
  expect(ended.status).toBe(200);
  const calls = callsOf(page);
  await page.goto(`${cloud.console_url}/settings`);
  await expect(page.getByText("Your session has ended")).toBeVisible();
  expect(calls.asked).toEqual(["/auth/refresh"]);
  await page.getByLabel("Email").fill(cloud.demo.email);
  await page.getByLabel("Password").fill(cloud.demo.password);
  await page.getByRole("button", { name: "Log in" }).click();
  await expect(page.getByRole("heading", { name: "Settings" })).toBeVisible();

  // Two tabs are one login: both go on after a renewal, and a logout in one is one in the other.
  const other = await context.newPage();
  await other.goto(cloud.console_url);
  await expect(other.getByRole("heading", { level: 1, name: "Instances" })).toBeVisible();
  await page.reload();
  await expect(page.getByRole("list", { name: "Sessions" })).toBeVisible();
  await other.getByRole("button", { name: "Log out" }).click();
  await expect(page.getByText("You have logged out in another tab")).toBeVisible();
});
