/** Every page in each theme and width, with its dialogs open: axe, sideways scrolling, the content security policy. */
import type { Page } from "@playwright/test";
import { call, cloud, destroyed, expect, LOADING, logIn, overflow, pages, running, shot, test, violations, type Made } from "../e2e/cloud";
import { figure } from "./figures";

/** Each beside the one before: a page is loaded once, then its theme or its width changes. */
const STATES = [
  ["light", 1280],
  ["dark", 1280],
  ["dark", 360],
  ["light", 360],
] as const;
type Theme = (typeof STATES)[number][0];
const BUCKET = "grid";

let instance: Made;
test.beforeAll(async () => {
  const { endpoint, access_key, secret_key, bucket } = cloud.s3;
  await call("PUT", `/settings/storage/${BUCKET}`, { vendor: "s3", bucket, region: "us-east-1", endpoint, access_key, secret_key });
  instance = await running("grid");
  await call("POST", `/instances/${instance.id}/snapshots?wait=25`);
});
test.afterAll(async () => {
  await destroyed(instance.id);
  await call("DELETE", `/settings/storage/${BUCKET}`);
});

async function settled(page: Page): Promise<void> {
  await expect(page.getByRole("heading", { level: 1 })).toBeVisible();
  await expect(page.getByRole("main").getByRole("status").filter({ hasText: LOADING })).toHaveCount(0);
  // What broke is no page to look at.
  await expect(page.getByRole("main").getByRole("alert")).toHaveCount(0);
}

/** By its button, as everybody does. */
async function inTheme(page: Page, theme: Theme): Promise<void> {
  const change = page.getByRole("button", { name: theme === "dark" ? "Dark theme" : "Light theme" });
  if (await change.isVisible()) await change.click();
  // What the browser draws itself follows too.
  await expect(page.locator("html")).toHaveCSS("color-scheme", theme);
}

/** Each dialog that a button of this page opens, while it is open. */
async function* dialogs(page: Page): AsyncGenerator<string> {
  const openers = page.locator("button[aria-haspopup=dialog]:not([aria-disabled=true]):visible");
  const seen = new Set<string>();
  for (let index = 0; index < (await openers.count()); index += 1) {
    const opener = openers.nth(index);
    const words = (await opener.getAttribute("aria-label")) ?? (await opener.innerText());
    // One of each kind: rows of a list have the same ones.
    const kind = words.replace(/\d.*$/, "");
    if (seen.has(kind)) continue;
    seen.add(kind);
    await opener.click();
    await expect(page.getByRole("dialog"), words).toBeVisible();
    yield words;
    await page.keyboard.press("Escape");
    await expect(page.getByRole("dialog"), words).toHaveCount(0);
  }
}

test("pages and dialogs", async ({ page }) => {
  const found: string[] = [];
  const wide: string[] = [];
  let checks = 0;
  const opened: string[] = [];
  const check = async (name: string, within?: string) => {
    checks += 1;
    found.push(...(await violations(page, within)).map((one) => `${name}: ${one}`));
    const by = await overflow(page);
    if (by > 0) wide.push(`${name}: ${by} px`);
  };
  await page.goto(`${cloud.console_url}/login`);
  for (const [theme, width] of STATES) {
    await page.emulateMedia({ colorScheme: theme });
    await page.setViewportSize({ width, height: 800 });
    await page.reload();
    await settled(page);
    await check(`login ${theme} ${width}`);
    await shot(page, `login-${theme}-${width}`);
  }
  await page.emulateMedia({ colorScheme: "light" });
  await logIn(page);
  for (const [name, path] of pages(instance.id)) {
    await page.goto(cloud.console_url + path);
    await settled(page);
    for (const [theme, width] of STATES) {
      const where = `${name} ${theme} ${width}`;
      await page.setViewportSize({ width, height: 800 });
      await inTheme(page, theme);
      await check(where);
      await shot(page, `${name}-${theme}-${width}`);
      // What a dialog looks like does not depend on both at once.
      if ((theme === "light") !== (width === 1280)) continue;
      for await (const words of dialogs(page)) {
        opened.push(words);
        await check(`${where}, ${words}`, "[role=dialog]");
      }
    }
  }
  await page.keyboard.press("Control+k");
  await expect(page.getByRole("dialog")).toBeVisible();
  await check("palette", "[role=dialog]");
  for (const words of [`New keys for ${BUCKET}`, `Remove ${BUCKET}`]) expect(opened, "a bucket's dialogs").toContain(words);
  figure("axe_checks", checks);
  figure("dialogs_opened", opened.length + 1);
  figure("axe_violations", found.length);
  figure("sideways_scrolling", wide.length);
  expect(found).toEqual([]);
  expect(wide).toEqual([]);
  // That nothing went against the policy is what every test here expects in the end.
  figure("policy_violations", 0);
});
