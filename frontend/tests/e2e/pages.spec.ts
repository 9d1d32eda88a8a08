import { readFileSync } from "node:fs";
import { accessible, call, callsOf, cloud, expect, LOADING, logIn, overflow, pages, test } from "./cloud";

test("every page is accessible in the dark and fits 360 px", async ({ page }) => {
  // Every theme, width and dialog: make bench NAME=console.
  await page.setViewportSize({ width: 360, height: 800 });
  await page.emulateMedia({ colorScheme: "dark" });
  await page.goto(`${cloud.console_url}/login`);
  await accessible(page);
  await logIn(page);
  for (const [name, path] of pages("").filter(([name]) => name !== "instance")) {
    await page.goto(cloud.console_url + path);
    await expect(page.getByRole("heading", { level: 1 }), name).toBeVisible();
    await expect(page.getByRole("main").getByRole("status").filter({ hasText: LOADING }), name).toHaveCount(0);
    await accessible(page);
    expect(await overflow(page), `${name} overflows`).toBeLessThanOrEqual(0);
  }
  await page.goto(`${cloud.console_url}/deploy`);
  await expect(page.getByRole("button", { name: "Deploy now" })).toBeInViewport();
});

test("an idle open tab asks little, and a hidden one nothing", async ({ page }) => {
  await page.clock.install();
  await logIn(page);
  await page.waitForLoadState("networkidle");
  const calls = callsOf(page);
  for (let minute = 0; minute < 5; minute += 1) {
    await page.clock.runFor(60_000);
    await calls.answered();
  }
  expect(calls.asked.length).toBeGreaterThan(0);
  expect(calls.asked.length).toBeLessThanOrEqual(10);
  await page.evaluate(() => {
    Object.defineProperty(document, "visibilityState", { value: "hidden", configurable: true });
    document.dispatchEvent(new Event("visibilitychange", { bubbles: true }));
  });
  calls.clear();
  await page.clock.runFor(300_000);
  expect(calls.asked).toEqual([]);
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

test.describe("against the policy", () => {
  test.use({ tolerated: /Content Security Policy|requires 'Trusted|directly modified/ });

  test("the console comes with the headers that static hosting is given, and they hold", async ({ page }) => {
    const { hosting } = JSON.parse(readFileSync("../firebase.json", "utf8")) as { hosting: { headers: { source: string; headers: { key: string; value: string }[] }[] } };
    const answer = await page.goto(`${cloud.console_url}/market`);
    for (const { key, value } of hosting.headers.find((one) => one.source === "**")!.headers) {
      // Only the hosting is asked over TLS.
      if (key !== "Strict-Transport-Security") expect(answer!.headers()[key.toLowerCase()], key).toBe(value);
    }
    // Here it must be gone against, and tell so.
    const forbidden = await page.evaluate(async () => {
      window.tellViolation = () => undefined;
      const told: string[] = [];
      document.addEventListener("securitypolicyviolation", (event) => told.push(event.effectiveDirective));
      const script = document.createElement("script");
      try {
        script.text = "document.title = 'run'";
      } catch {
        told.push("code refused");
      }
      document.head.append(script);
      const image = document.body.appendChild(document.createElement("img"));
      image.setAttribute("src", "http://elsewhere.invalid/pixel.gif");
      document.body.setAttribute("style", "color: red");
      try {
        document.body.insertAdjacentHTML("beforeend", "<b>markup</b>");
      } catch {
        told.push("markup refused");
      }
      await fetch("http://elsewhere.invalid/").catch(() => undefined);
      await new Promise((resolve) => setTimeout(resolve, 200));
      return { told, title: document.title };
    });
    expect(forbidden.title).not.toBe("run");
    expect(new Set(forbidden.told)).toEqual(new Set(["require-trusted-types-for", "code refused", "markup refused", "style-src-attr", "img-src", "connect-src"]));
  });
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
