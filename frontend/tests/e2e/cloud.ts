/** The running local cloud, as the browser's tests use it. */
import { readFileSync } from "node:fs";
import { AxeBuilder } from "@axe-core/playwright";
import { expect, test as base, type Page } from "@playwright/test";

interface State {
  api_url: string;
  console_url: string;
  control_url: string;
  demo: { email: string; password: string; api_key: string };
}

const file = process.env.DUMONT_STATE_FILE;
if (!file) throw new Error("DUMONT_STATE_FILE is not set; run `make test`, or name the state.json of a running `make up`");
export const cloud = JSON.parse(readFileSync(file, "utf8")) as State;

export async function logIn(page: Page): Promise<void> {
  await page.goto(`${cloud.console_url}/login`);
  await page.getByLabel("Email").fill(cloud.demo.email);
  await page.getByLabel("Password").fill(cloud.demo.password);
  await page.getByRole("button", { name: "Log in" }).click();
  await expect(page.getByRole("heading", { name: "Instances" })).toBeVisible();
}

/** The API without the browser, for what a story needs to stand. */
export async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
  const answer = await fetch(`${cloud.api_url}/api/v1${path}`, {
    method,
    headers: { Authorization: `Bearer ${cloud.demo.api_key}`, ...(body ? { "Content-Type": "application/json" } : {}) },
    body: body ? JSON.stringify(body) : undefined,
  });
  const json = (await answer.json()) as { success: boolean; data: T; error?: { message: string } };
  if (!json.success) throw new Error(`${method} ${path}: ${json.error?.message}`);
  return json.data;
}

export async function accessible(page: Page): Promise<void> {
  // Colours in the middle of a transition are nobody's choice.
  await page.evaluate(() =>
    Promise.all(document.getAnimations().filter((one) => one.effect?.getComputedTiming().iterations !== Infinity).map((one) => one.finished.catch(() => null))),
  );
  const { violations } = await new AxeBuilder({ page }).withTags(["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]).analyze();
  expect(violations.map((one) => `${one.id}: ${one.nodes.map((node) => node.html).join(" | ")}`)).toEqual([]);
}

export const shot = (page: Page, name: string) => page.screenshot({ path: `screenshots/${name}.png`, fullPage: true });

/** A page that tells when the browser complained. */
export const test = base.extend<{ page: Page }>({
  page: async ({ page }, provide) => {
    const complaints: string[] = [];
    page.on("pageerror", (error) => complaints.push(String(error)));
    page.on("console", (message) => {
      if (message.type() === "error" && !message.text().includes("Failed to load resource")) complaints.push(message.text());
    });
    await provide(page);
    expect(complaints).toEqual([]);
  },
});
export { expect };
