/** The README's pictures, of a cloud with something in it: `make screenshots` writes docs/images. */
import { writeFileSync } from "node:fs";
import type { Page } from "@playwright/test";
import { call, cloud, expect, logIn, reached, running, shell, test, withoutMessages } from "../e2e/cloud";

const HOUR = 3_600_000;

/** Chromium writes WebP itself; Playwright does not offer it. */
async function picture(page: Page, name: string): Promise<void> {
  await withoutMessages(page);
  await page.mouse.move(0, 0);
  const browser = await page.context().newCDPSession(page);
  const { data } = await browser.send("Page.captureScreenshot", { format: "webp", quality: 60 });
  const file = Buffer.from(data, "base64");
  expect(file.length, `${name} is small`).toBeLessThan(60_000);
  writeFileSync(`../docs/images/${name}.webp`, file);
}

/** A day of a busy GPU that slept in between; the cloud of this picture is minutes old. */
async function dayOfMetrics(page: Page): Promise<void> {
  await page.route(/\/metrics\?/, async (route) => {
    const { data } = (await (await route.fetch()).json()) as { data: object };
    const until = Date.now();
    const asleep = [{ since: until - 11 * HOUR, until: until - 6 * HOUR }];
    const points = Array.from({ length: 1440 }, (_, minute) => until - (1440 - minute) * 60_000)
      .filter((at) => !asleep.some((one) => at > one.since && at < one.until))
      .map((at, place) => {
        const works = at < until - 12 * HOUR || at > until - 5.5 * HOUR;
        // Training, with a pause for each evaluation.
        const gpu = works ? (place % 110 < 9 ? 38 : 97) - ((place * 7919) % 11) / 2 : 1;
        return { at: new Date(at).toISOString(), gpu, gpu_peak: gpu, vram_mb: works ? 19_200 - (place % 110 < 9 ? 2_600 : 0) : 900, vram_total_mb: 24_564, network_mbit: null };
      });
    const iso = (one: { since: number; until: number }) => ({ since: new Date(one.since).toISOString(), until: new Date(one.until).toISOString() });
    await route.fulfill({ json: { success: true, data: { ...data, since: new Date(until - 24 * HOUR).toISOString(), until: new Date(until).toISOString(), step_s: 60, points, asleep: asleep.map(iso) } } });
  });
}

/** A week of samples, as the sampler takes them every ten minutes and keeps them by the hour. */
async function weekOfPrices(page: Page): Promise<void> {
  await page.route(/\/spot\/market\?/, async (route) => {
    const body = (await (await route.fetch()).json()) as { data: { now: { median: number; p10: number; p90: number; offers: number } | null } };
    const now = body.data.now ?? { median: 0.37, p10: 0.31, p90: 0.44, offers: 40 };
    const band = Array.from({ length: 168 }, (_, hour) => {
      const wave = 1 + 0.07 * Math.sin((hour - 167) / 3.8) + 0.05 * Math.sin((hour - 167) / 23);
      return { at: new Date(Date.now() - (167 - hour) * HOUR).toISOString(), p10: now.p10 * wave, median: now.median * wave, p90: now.p90 * (wave + 0.03 * Math.sin(hour / 5)), offers: now.offers };
    });
    await route.fulfill({ json: { success: true, data: { ...body.data, now, band, note: "168 of 168 hours were sampled." } } });
  });
}

test("pictures", async ({ page }) => {
  await page.setViewportSize({ width: 1120, height: 680 });
  const [train, render] = await Promise.all([running("llama-finetune"), running("sd-xl-render", "RTX 3090"), running("whisper-batch", "L40S")]);
  await call("PATCH", `/instances/${train.id}`, { keep_awake_s: 7200 });
  await shell(train.id, "mkdir -p data; head -c 3000000 /dev/urandom > data/train.bin; echo 1 > train.py");
  await call("POST", `/instances/${train.id}/snapshots?wait=25`);
  await call("POST", `/instances/${render.id}/hibernate?wait=25`);
  await reached(render.id, "hibernated");
  await logIn(page);

  await page.getByRole("navigation", { name: "Main" }).getByRole("link", { name: "Deploy" }).click();
  await expect(page.getByTestId("estimate")).toBeVisible();
  await page.getByLabel("Name").fill("qlora-8b");
  await page.getByRole("button", { name: "Deploy now" }).click();
  await expect.poll(() => page.locator("#race [data-stage]").count()).toBeGreaterThanOrEqual(3);
  await picture(page, "race");
  const made = new URL(page.url()).pathname.split("/")[2]!;
  await reached(made, "running");

  await page.goto(cloud.console_url);
  await expect(page.getByRole("row", { name: /whisper-batch/ })).toBeVisible();
  await page.waitForLoadState("networkidle");
  await picture(page, "home");

  await dayOfMetrics(page);
  await page.goto(`${cloud.console_url}/instances/${train.id}`);
  await page.getByRole("combobox", { name: "Range" }).selectOption({ label: "1 day" });
  await page.waitForLoadState("networkidle");
  await picture(page, "instance");

  await weekOfPrices(page);
  await page.goto(`${cloud.console_url}/market?gpu=RTX+4090`);
  await page.getByRole("combobox", { name: "Range" }).selectOption("7");
  await page.waitForLoadState("networkidle");
  await picture(page, "market");
});
