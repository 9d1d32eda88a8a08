/** What else one does with an instance: restore, clone, replay its race, limit its cost, guard it and try the guard out. */
import { accessible, call, cloud, destroyed, expect, logIn, reached, running, shell, test, type Made } from "./cloud";

let instance: Made;
test.beforeAll(async () => {
  instance = await running("acted-on");
});
test.afterAll(async () => {
  await destroyed(instance.id);
});

test("a snapshot brings the files back, and a clone has them as well", async ({ page }) => {
  await shell(instance.id, "echo first > note");
  await logIn(page);
  await page.goto(`${cloud.console_url}/instances/${instance.id}`);
  await page.getByRole("button", { name: "Snapshot now" }).click();
  const restore = page.getByRole("button", { name: /^Restore the snapshot/ });
  await expect(restore).toHaveCount(1);
  await shell(instance.id, "echo second > note");
  await restore.click();
  await expect(page.getByRole("dialog")).toContainText("What changed since is overwritten");
  await accessible(page);
  await page.getByRole("button", { name: "Restore it" }).click();
  await expect.poll(() => shell(instance.id, "cat note")).toBe("first\n");

  await page.getByRole("button", { name: /^Clone the snapshot/ }).click();
  await page.getByLabel("Name").fill("acted-on-again");
  await accessible(page);
  await page.getByRole("button", { name: "Clone it" }).click();
  await expect(page.getByRole("heading", { level: 1, name: "acted-on-again" })).toBeVisible();
  const clone = new URL(page.url()).pathname.split("/")[2]!;
  expect(clone).not.toBe(instance.id);
  await reached(clone, "running");
  await expect.poll(() => shell(clone, "cat note")).toBe("first\n");
  await destroyed(clone);
});

test("a race replays from its beginning to its winner", async ({ page }) => {
  await logIn(page);
  await page.goto(`${cloud.console_url}/instances/${instance.id}?race`);
  const race = page.locator("#race");
  await expect(race.locator("[data-stage=won]")).toHaveCount(1);
  const asked = await race.locator("[data-stage]").count();
  await race.getByRole("slider", { name: "Moment of the race" }).fill("0");
  await expect(race.locator("[data-stage=won]")).toHaveCount(0);
  await expect(race.locator("[data-stage]")).toHaveCount(asked);
  await accessible(page);
  await race.getByRole("button", { name: "Play" }).click();
  await expect(race.locator("[data-stage=won]")).toHaveCount(1, { timeout: 30_000 });
});

test("budgets limit everything, and one instance", async ({ page }) => {
  await logIn(page);
  await page.goto(`${cloud.console_url}/instances/${instance.id}`);
  const own = page.getByRole("form", { name: "Budget of this instance" });
  await own.getByRole("textbox").fill("7");
  await own.getByRole("button", { name: "Save" }).click();
  await expect(page.getByText(/of \$7\.00 this month/)).toBeVisible();
  await page.goto(`${cloud.console_url}/usage`);
  await expect(page.getByRole("progressbar", { name: "Budget of acted-on spent" })).toBeVisible();
  const all = page.getByRole("form", { name: "Budget", exact: true });
  await all.getByRole("textbox").fill("50");
  await all.getByRole("button", { name: "Save" }).click();
  await expect(page.getByText(/of \$50\.00 this month/)).toBeVisible();
  await page.getByRole("button", { name: "Show every machine" }).click();
  await expect(page.getByRole("button", { name: "Download CSV" })).toBeVisible();
  await expect(page.getByRole("region", { name: "Every machine" }).getByRole("row")).not.toHaveCount(0);
  await accessible(page);
  await all.getByRole("textbox").fill("");
  await all.getByRole("button", { name: "Save" }).click();
  await expect(page.getByText(/of \$50\.00 this month/)).toHaveCount(0);
});

test("a standby is priced, made, and tried out by a drill", async ({ page }) => {
  test.slow();
  await logIn(page);
  await page.goto(`${cloud.console_url}/standby`);
  await page.getByRole("button", { name: "Add a standby" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("button", { name: "What would it cost?" }).click();
  await expect(dialog.getByText("a month")).toBeVisible();
  await accessible(page);
  await dialog.getByRole("button", { name: "Make it" }).click();
  await expect.poll(async () => (await call<{ standbys: { phase: string }[] }>("GET", "/standby")).standbys[0]?.phase, { timeout: 60_000 }).toBe("following");
  await page.reload();
  await expect(page.getByText("holds the newest snapshot", { exact: false }).first()).toBeVisible();
  await page.getByRole("button", { name: "Run a drill" }).click();
  await accessible(page);
  await page.getByRole("button", { name: "Run the drill" }).click();
  await expect(page.getByText("The copy and its machines are proven gone.")).toBeVisible({ timeout: 120_000 });
  await expect(page.getByLabel("Drill, measured")).toContainText("Files served after");
  await accessible(page);
  expect((await call<Made>("GET", `/instances/${instance.id}`)).state).toBe("running");
});

test("that failovers are stopped is told, and an administrator lets them go on", async ({ page }) => {
  let stopped = true;
  // More failovers at once than are let begin would take as many instances: only that answer is played.
  await page.route("**/api/v1/standby/failover/breaker", async (route) => {
    if (route.request().method() === "DELETE") stopped = false;
    const answer = await route.fetch();
    const { data } = (await answer.json()) as { data: object };
    await (stopped ? route.fulfill({ json: { success: true, data: { ...data, open: true, opened_at: new Date().toISOString() } } }) : route.fulfill({ response: answer }));
  });
  await logIn(page);
  await page.goto(`${cloud.console_url}/standby`);
  await expect(page.getByText("No failover begins by itself")).toBeVisible();
  await page.getByRole("button", { name: "Let them go on" }).click();
  await accessible(page);
  await page.getByRole("dialog").getByRole("button", { name: "Let them go on" }).click();
  await expect(page.getByText("Failovers begin by themselves:")).toBeVisible();
});
