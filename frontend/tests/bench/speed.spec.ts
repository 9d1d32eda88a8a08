/** How soon things are seen, how little an open tab asks, how fast big tables and charts are. */
import type { Page } from "@playwright/test";
import { call, callsOf, cloud, destroyed, expect, logIn, pages, reached, running, tabTo, test, type Made } from "../e2e/cloud";
import { figure, quantile, rounded } from "./figures";

interface Row {
  id: string;
  state: string;
  at: number;
}

/** From now on, when which state of which instance was first seen on the page. */
const watch = (page: Page) =>
  page.evaluate(() => {
    const seen: Row[] = [];
    const last = new Map<string, string>();
    const look = () => {
      for (const badge of document.querySelectorAll("[data-state-badge]")) {
        const link = badge.closest("tr")?.querySelector<HTMLAnchorElement>("a[href^='/instances/']");
        const state = badge.getAttribute("data-state-badge")!;
        const id = link?.pathname.split("/")[2];
        if (id === undefined || last.get(id) === state) continue;
        last.set(id, state);
        seen.push({ id, state, at: Date.now() });
      }
    };
    look();
    new MutationObserver(look).observe(document.body, { subtree: true, childList: true, attributes: true });
    (window as unknown as { seen: Row[] }).seen = seen;
  });

test("a change of state is seen soon", async ({ page }) => {
  const instances = await Promise.all([0, 1, 2, 3].map((number) => running(`seen-${number}`)));
  try {
    await logIn(page);
    await expect(page.getByRole("row", { name: /seen-/ })).toHaveCount(instances.length);
    await watch(page);
    const calls = callsOf(page);
    const begunAt = Date.now();
    // The server's own word on when each state began; asked for often enough to miss none.
    const begun: Row[] = [];
    let over = false;
    const listening = (async () => {
      while (!over) {
        const { instances: all } = await call<{ instances: (Made & { entered_at: string })[] }>("GET", "/instances");
        for (const one of all) {
          const at = Date.parse(one.entered_at);
          if (!begun.some((known) => known.id === one.id && known.at === at)) begun.push({ id: one.id, state: one.state, at });
        }
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    })();
    for (const [act, state] of [
      ["Hibernate", "hibernated"],
      ["Wake", "running"],
      ["Hibernate", "hibernated"],
    ] as const) {
      for (const one of instances) {
        const button = page.getByRole("row", { name: one.name }).getByRole("button", { name: act });
        await expect(button).toBeEnabled({ timeout: 60_000 });
        await expect(button).not.toHaveAttribute("aria-disabled", "true", { timeout: 60_000 });
        await button.click();
      }
      await Promise.all(instances.map((one) => reached(one.id, state)));
    }
    await expect(page.locator("tr [data-state-badge=hibernated]")).toHaveCount(instances.length);
    over = true;
    await listening;
    // With the twelve presses, and what each has looked at again.
    figure("calls_a_second_while_four_move", rounded(calls.asked.length / ((Date.now() - begunAt) / 1000)));
    const seen = await page.evaluate(() => (window as unknown as { seen: Row[] }).seen);
    const first = Math.min(...seen.map((one) => one.at));
    const waits = begun
      .filter((one) => one.at > first)
      .map((one) => {
        const next = begun.filter((other) => other.id === one.id && other.at > one.at);
        // A state that was over before anybody looked is seen when the one after it is.
        const shown = seen.find(
          (other) => other.id === one.id && other.at >= one.at && (other.state === one.state || next.some((later) => later.state === other.state && later.at <= other.at)),
        );
        expect(shown, `${one.state} of ${one.id} was never seen`).toBeDefined();
        return (shown!.at - one.at) / 1000;
      });
    expect(waits.length).toBeGreaterThanOrEqual(20);
    figure("state_seen_n", waits.length);
    figure("state_seen_p50_s", rounded(quantile(waits, 0.5)));
    figure("state_seen_p95_s", rounded(quantile(waits, 0.95)));
  } finally {
    await Promise.all(instances.map((one) => destroyed(one.id)));
  }
});

test("an idle tab asks little", async ({ page }) => {
  const instance = await running("idle");
  // Minutes of the page's clock are moments of ours: the losers of its race must be proven gone before it starts.
  await expect
    .poll(async () => (await call<{ attempts: { receipt: { confirmed_at: string | null } | null }[] }>("GET", `/instances/${instance.id}`)).attempts.every((one) => one.receipt?.confirmed_at !== null))
    .toBe(true);
  const MINUTES = 10;
  const calls = callsOf(page);
  await page.clock.install();
  await logIn(page);
  const each: Record<string, number> = {};
  for (const [name, path] of pages(instance.id)) {
    await page.goto(cloud.console_url + path);
    await page.waitForLoadState("networkidle");
    calls.clear();
    for (let second = 0; second < MINUTES * 60; second += 10) {
      await page.clock.runFor(10_000);
      // What was asked is answered before time goes on.
      await calls.answered();
    }
    // A renewal of the session is every fourteen minutes, whatever the page.
    const asked = calls.asked.filter((path) => path !== "/auth/refresh");
    each[name] = asked.length / MINUTES;
    if (each[name] > 2) process.stderr.write(`${name} asked for ${asked.join(" ")}\n`);
  }
  figure("idle_calls_a_minute", Math.max(...Object.values(each)));
  figure("idle_calls_each", each);
  calls.clear();
  const look = (value: "hidden" | "visible") =>
    page.evaluate((state) => {
      Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
      document.dispatchEvent(new Event("visibilitychange", { bubbles: true }));
    }, value);
  await look("hidden");
  await page.clock.runFor(600_000);
  figure("hidden_calls", calls.asked.length);
  const back = Date.now();
  await look("visible");
  await expect.poll(() => calls.asked.length, { intervals: [5, 10, 20] }).toBeGreaterThan(0);
  await calls.answered();
  figure("caught_up_after_s", rounded((Date.now() - back) / 1000));
  await destroyed(instance.id);
});

/** Milliseconds of one act until what it changed is painted. */
const painted = (page: Page, act: string) =>
  page.evaluate(async (code) => {
    const run = new Map<string, () => void>([
      ["sort", () => document.querySelectorAll<HTMLButtonElement>("th button")[Math.floor(Math.random() * document.querySelectorAll("th button").length)]!.click()],
      [
        "filter",
        () => {
          const input = document.querySelector<HTMLInputElement>("input[aria-label='Filter instances']")!;
          Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value")!.set!.call(input, String(Math.floor(Math.random() * 90) + 10));
          input.dispatchEvent(new Event("input", { bubbles: true }));
        },
      ],
    ]).get(code)!;
    const begun = performance.now();
    run();
    await new Promise((resolve) =>
      requestAnimationFrame(() => {
        const { port1, port2 } = new MessageChannel();
        port1.onmessage = resolve;
        port2.postMessage(null);
      }),
    );
    return performance.now() - begun;
  }, act);

test("a table of a thousand rows sorts and filters at once", async ({ page }) => {
  const instance = await running("rows");
  const { instances } = await call<{ instances: Made[] }>("GET", "/instances");
  const many = Array.from({ length: 1000 }, (_, number) => ({ ...instances[0]!, id: `i-${number}`, name: `row-${(number * 7919) % 1000}` }));
  await page.route(/\/api\/v1\/instances\?/, (route) => route.fulfill({ json: { success: true, data: { instances: many, next_cursor: null } } }));
  await logIn(page);
  await expect(page.getByRole("link", { name: "row-0", exact: true })).toBeVisible();
  const rows = await page.locator("tbody tr").count();
  const times: Record<string, number> = {};
  for (const act of ["sort", "filter"]) {
    const taken: number[] = [];
    for (let round = 0; round < 25; round += 1) taken.push(await painted(page, act));
    times[act] = quantile(taken, 0.95);
  }
  figure("table_rows", many.length);
  figure("table_rows_drawn", rows);
  figure("table_sort_p95_ms", rounded(times.sort!));
  figure("table_filter_p95_ms", rounded(times.filter!));
  await destroyed(instance.id);
});

/** From now on an instance's measurements are so many, one a minute. */
async function measured(page: Page, length: number): Promise<void> {
  await page.route(/\/metrics\?/, async (route) => {
    const answer = await route.fetch();
    // A refusal stays one: made into a success it would lack what every success has.
    if (!answer.ok()) return route.fulfill({ response: answer });
    const { data } = (await answer.json()) as { data: object };
    const until = Date.now();
    const points = Array.from({ length }, (_, number) => ({
      at: new Date(until - (length - number) * 60_000).toISOString(),
      gpu: 50 + 45 * Math.sin(number / 50),
      gpu_peak: 100,
      vram_mb: 8000 + (number % 500),
      vram_total_mb: 24_000,
      network_mbit: number % 900,
    }));
    await route.fulfill({ json: { success: true, data: { ...data, since: points[0]!.at, until: new Date(until).toISOString(), step_s: 60, points } } });
  });
}

const DAY = 1440;
const MANY = 10_000;

test("charts of a day that stay open for an hour keep no memory", async ({ page }) => {
  const instance = await running("open");
  await page.clock.install();
  await logIn(page);
  await measured(page, DAY);
  const calls = callsOf(page);
  const browser = await page.context().newCDPSession(page);
  const heap = async () => {
    await browser.send("HeapProfiler.collectGarbage");
    return (await browser.send("Runtime.getHeapUsage")).usedSize;
  };
  const minutes = async (many: number) => {
    for (let minute = 0; minute < many; minute += 1) {
      await page.clock.runFor(60_000);
      await calls.answered();
    }
  };
  await page.goto(`${cloud.console_url}/instances/${instance.id}`);
  await expect(page.getByRole("img", { name: /GPU utilisation/ })).toBeVisible();
  await minutes(10);
  const before = await heap();
  calls.clear();
  await minutes(60);
  // It was live: measurements came, and were drawn.
  expect(calls.asked.filter((path) => path.endsWith("/metrics")).length).toBeGreaterThanOrEqual(15);
  figure("heap_growth_mb", rounded(((await heap()) - before) / 1e6));
  await destroyed(instance.id);
});

test("a chart of ten thousand points is drawn at once", async ({ page }) => {
  const instance = await running("points");
  await logIn(page);
  await measured(page, MANY);
  const taken: number[] = [];
  for (let round = 0; round < 5; round += 1) {
    await page.goto(`${cloud.console_url}/instances/${instance.id}`);
    const drawn = () =>
      page.evaluate((many) =>
        performance
          .getEntriesByName("chart")
          .filter((one) => ((one as PerformanceMeasure).detail as { points: number }).points >= many)
          .map((one) => one.duration),
        MANY,
      );
    await expect.poll(async () => (await drawn()).length).toBeGreaterThanOrEqual(3);
    taken.push(...(await drawn()));
  }
  figure("chart_points", MANY);
  figure("chart_draw_p95_ms", rounded(quantile(taken, 0.95)));
  await destroyed(instance.id);
});

test("the main job needs no mouse", async ({ page }) => {
  let keys = 0;
  const press = async (key: string) => {
    keys += 1;
    await page.keyboard.press(key);
  };
  const go = async (name: string | RegExp) => {
    const button = page.getByRole("button", { name, exact: true });
    await expect(button).not.toHaveAttribute("aria-disabled", "true", { timeout: 60_000 });
    keys += await tabTo(page, button);
    await press("Enter");
  };
  await logIn(page);
  await press("Control+k");
  const search = page.getByRole("combobox", { name: "Search and commands" });
  await expect(search).toBeFocused();
  await page.keyboard.type("deploy");
  await expect(search).toHaveValue("deploy");
  await press("Enter");
  await expect(page.getByRole("heading", { level: 1, name: "Deploy" })).toBeVisible();
  await go("Deploy now");
  const badge = (state: string) => expect(page.locator(`h1 [data-state-badge=${state}]`)).toBeVisible({ timeout: 60_000 });
  await badge("running");
  const id = new URL(page.url()).pathname.split("/")[2]!;
  await go("Hibernate");
  await badge("hibernated");
  await go("Wake");
  await badge("running");
  const command = page.getByLabel("Command", { exact: true });
  keys += await tabTo(page, command);
  await page.keyboard.type("nvidia-smi");
  await press("Enter");
  await expect(page.getByRole("log")).toContainText("CUDA Version");
  await go("Destroy");
  const dialog = page.getByRole("dialog");
  await page.keyboard.type((await dialog.locator("code").innerText()).trim());
  keys += await tabTo(page, dialog.getByRole("button", { name: "Destroy it" }));
  await press("Enter");
  await reached(id, "destroyed");
  figure("keyboard_only_keys", keys);
});
