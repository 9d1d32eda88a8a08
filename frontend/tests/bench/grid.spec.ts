/** Every page in each theme and width, with its dialogs open: axe, sideways scrolling, the content security policy. */
import type { Page } from "@playwright/test";
import { call, cloud, destroyed, expect, logIn, overflow, pages, running, shot, test, violations, type Made } from "../e2e/cloud";
import { figure } from "./figures";

const THEMES = ["light", "dark"] as const;
const WIDTHS = [1280, 360] as const;

let instance: Made;
test.beforeAll(async () => {
  instance = await running("grid");
  await call("POST", `/instances/${instance.id}/snapshots?wait=25`);
});
test.afterAll(async () => {
  await destroyed(instance.id);
});

async function settled(page: Page): Promise<void> {
  await expect(page.getByRole("heading", { level: 1 })).toBeVisible();
  await page.waitForLoadState("networkidle");
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
  let opened = 0;
  const check = async (name: string) => {
    checks += 1;
    found.push(...(await violations(page)).map((one) => `${name}: ${one}`));
    const by = await overflow(page);
    if (by > 0) wide.push(`${name}: ${by} px`);
  };
  await page.goto(`${cloud.console_url}/login`);
  for (const theme of THEMES) {
    await page.emulateMedia({ colorScheme: theme });
    for (const width of WIDTHS) {
      await page.setViewportSize({ width, height: 800 });
      await page.reload();
      await settled(page);
      await check(`login ${theme} ${width}`);
      await shot(page, `login-${theme}-${width}`);
    }
  }
  await logIn(page);
  for (const [name, path] of pages(instance.id)) {
    for (const theme of THEMES) {
      await page.emulateMedia({ colorScheme: theme });
      for (const width of WIDTHS) {
        const where = `${name} ${theme} ${width}`;
        await page.setViewportSize({ width, height: 800 });
        await page.goto(cloud.console_url + path);
        await settled(page);
        await check(where);
        await shot(page, `${name}-${theme}-${width}`);
        // What a dialog looks like does not depend on both at once.
        if ((theme === "light") !== (width === 1280)) continue;
        for await (const words of dialogs(page)) {
          opened += 1;
          await check(`${where}, ${words}`);
        }
      }
    }
  }
  await page.keyboard.press("Control+k");
  await expect(page.getByRole("dialog")).toBeVisible();
  await check("palette");
  figure("axe_checks", checks);
  figure("dialogs_opened", opened + 1);
  figure("axe_violations", found.length);
  figure("sideways_scrolling", wide.length);
  expect(found).toEqual([]);
  expect(wide).toEqual([]);
  // That nothing went against the policy is what every test here expects in the end.
  figure("policy_violations", 0);
});
