/** The running local cloud, as the browser's tests and benches use it. */
import { readFileSync } from "node:fs";
import { AxeBuilder } from "@axe-core/playwright";
import { expect, test as base, type Locator, type Page, type Request } from "@playwright/test";
import { paths, type PageName } from "../../src/lib/paths";

interface State {
  api_url: string;
  console_url: string;
  control_url: string;
  demo: { email: string; password: string; api_key: string };
  s3: { endpoint: string; access_key: string; secret_key: string; bucket: string };
}

const file = process.env.DUMONT_STATE_FILE;
if (!file) throw new Error("DUMONT_STATE_FILE is not set; run `make test`, or name the state.json of a running `make up`");
export const cloud = JSON.parse(readFileSync(file, "utf8")) as State;

/** How what says that it waits begins. */
export const LOADING = /^(Loading|Asking|Counting)/;

/** Every page after the login, as the router knows them. */
export const pages = (instance: string): [PageName, string][] =>
  (Object.keys(paths) as (keyof typeof paths)[])
    .filter((name) => name !== "login")
    .map((name) => {
      const path = paths[name];
      return [name, typeof path === "string" ? path : path(instance)];
    });

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

export interface Made {
  id: string;
  name: string;
  state: string;
}

export async function reached(id: string, state: string): Promise<void> {
  await expect.poll(async () => (await call<Made>("GET", `/instances/${id}`)).state, { timeout: 90_000 }).toBe(state);
}

/** An instance that runs and is in motion no more. */
export async function running(name: string, gpu_name = "RTX 4090"): Promise<Made> {
  const made = await call<Made>("POST", "/instances/provision?wait=0", { name, gpu_name });
  await reached(made.id, "running");
  await expect.poll(async () => (await call<{ restoring: boolean }>("GET", `/instances/${made.id}`)).restoring).toBe(false);
  return made;
}

/** What a shell command on its machine wrote. */
export async function shell(id: string, command: string): Promise<string> {
  const order = await call<{ state: string; stdout: string | null; exit_code: number | null }>("POST", `/instances/${id}/exec?wait=25`, { command: ["bash", "-c", command] });
  expect(order.exit_code, command).toBe(0);
  return order.stdout ?? "";
}

/** Destroyed, and every machine of it proven gone. */
export async function destroyed(id: string): Promise<void> {
  await call("DELETE", `/instances/${id}/destroy?wait=0`);
  await reached(id, "destroyed");
}

/** Nothing in the corner: for some seconds a message there covers what stands below it. */
export async function withoutMessages(page: Page): Promise<void> {
  // Not by the mouse, which would close a dialog.
  await page.evaluate(() => document.querySelectorAll<HTMLElement>("[data-sonner-toast] [data-close-button]").forEach((one) => one.click()));
  await expect(page.locator("[data-sonner-toast]")).toHaveCount(0);
}

/** `within`: a dialog; what lies behind it is hidden from everyone while it is open. */
export async function violations(page: Page, within?: string): Promise<string[]> {
  await withoutMessages(page);
  // The bar at the top stays: scrolled down, it covers a part of what is below.
  await page.evaluate(() => scrollTo(0, 0));
  // Colours in the middle of a transition are nobody's choice. Not waited for: inside a closed <details> none ever ends.
  await page.evaluate(() =>
    document.getAnimations().forEach((one) => {
      if (one.effect?.getComputedTiming().iterations !== Infinity) one.finish();
    }),
  );
  const axe = new AxeBuilder({ page }).withTags(["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]);
  const found = await (within ? axe.include(within) : axe).analyze();
  return found.violations.map((one) => `${one.id}: ${one.nodes.map((node) => node.html).join(" | ")}`);
}

export const accessible = async (page: Page): Promise<void> => expect(await violations(page)).toEqual([]);

/** Pixels by which the page is wider than its window. */
export const overflow = (page: Page): Promise<number> => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

/** Calls to the API: what was asked since the last `clear`, and a wait until all of it is answered. */
export function callsOf(page: Page) {
  const asked: string[] = [];
  // A set, not a count: a call from before this began may end after it.
  const open = new Set<Request>();
  const ours = (url: string) => new URL(url).pathname.startsWith("/api/v1/");
  page.on("request", (request) => {
    if (!ours(request.url())) return;
    asked.push(new URL(request.url()).pathname.replace("/api/v1", ""));
    open.add(request);
  });
  const over = (request: Request) => void open.delete(request);
  page.on("requestfinished", over);
  page.on("requestfailed", over);
  return { asked, clear: () => asked.splice(0), answered: () => expect.poll(() => open.size, { intervals: [5, 10, 20, 50] }).toBe(0) };
}

export const shot = (page: Page, name: string) => page.screenshot({ path: `screenshots/${name}.png`, fullPage: true });

/** Press Tab until the focus is there, as one without a mouse does; the keys it took. */
export async function tabTo(page: Page, target: Locator): Promise<number> {
  for (let pressed = 0; pressed < 150; pressed += 1) {
    if (await target.evaluate((one) => one === document.activeElement)) {
      expect(await target.evaluate((one) => getComputedStyle(one).outlineStyle), "the focus is seen").not.toBe("none");
      return pressed;
    }
    await page.keyboard.press("Tab");
  }
  throw new Error(`${target} cannot be reached by Tab`);
}

declare global {
  interface Window {
    tellViolation: (words: string) => void;
  }
}

/** A page that tells when the browser complained, and when anything went against the content security policy. */
export const test = base.extend<{ page: Page; tolerated: RegExp }>({
  tolerated: [/Failed to load resource/, { option: true }],
  page: async ({ page, tolerated }, provide) => {
    const complaints: string[] = [];
    page.on("pageerror", (error) => complaints.push(String(error)));
    page.on("console", (message) => {
      if (message.type() === "error" && !tolerated.test(message.text())) complaints.push(message.text());
    });
    await page.exposeFunction("tellViolation", (words: string) => complaints.push(words));
    await page.addInitScript(() =>
      document.addEventListener("securitypolicyviolation", (event) =>
        window.tellViolation(`policy: ${event.effectiveDirective} forbids ${event.blockedURI} at ${event.sourceFile}:${event.lineNumber}`),
      ),
    );
    await provide(page);
    expect(complaints).toEqual([]);
  },
});
export { expect };
