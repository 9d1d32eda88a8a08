import { accessible, call, cloud, expect, logIn, shot, tabTo, test } from "./cloud";

test("an instance from deploy to destroy", async ({ page }) => {
  await logIn(page);
  let clicks = 0;
  const click = async (name: string) => {
    clicks += 1;
    await page.getByRole("button", { name, exact: true }).click();
  };
  await page.getByRole("navigation", { name: "Main" }).getByRole("link", { name: "Deploy" }).click();
  clicks += 1;
  await expect(page.getByTestId("estimate")).toBeVisible();
  await shot(page, "story-1-deploy");
  await click("Deploy now");
  await expect(page.getByRole("heading", { name: "Race" })).toBeVisible();
  expect(clicks).toBeLessThanOrEqual(3);
  await expect(page.getByText("machines race.")).toBeVisible();
  await shot(page, "story-2-race");
  await accessible(page);

  await expect(page.locator("[data-state-badge=running]")).toBeVisible({ timeout: 60_000 });
  await expect(page.getByText("Winner")).toBeVisible();
  await page.getByLabel("Command", { exact: true }).fill("nvidia-smi; echo kept > note");
  await click("Run");
  await expect(page.getByRole("log")).toContainText("CUDA Version");
  await shot(page, "story-3-running");
  await accessible(page);

  const name = (await page.getByRole("navigation", { name: "Breadcrumb" }).innerText()).split("/")[1]!.trim();
  await click("Hibernate");
  await expect(page.locator("[data-state-badge=hibernated]")).toBeVisible({ timeout: 60_000 });
  await expect(page.getByText("No machine is paid for.")).toBeVisible();
  await shot(page, "story-4-hibernated");

  await click("Wake");
  await expect(page.locator("[data-state-badge=running]")).toBeVisible({ timeout: 60_000 });
  await page.getByLabel("Command", { exact: true }).fill("cat note");
  await click("Run");
  await expect(page.getByRole("log")).toContainText("kept");

  await click("Destroy");
  await expect(page.getByRole("dialog")).toContainText("every file go for good");
  await accessible(page);
  await shot(page, "story-5-destroy");
  await page.getByLabel(`Type ${name} to confirm`).fill(name);
  await click("Destroy it");
  await expect(page.locator("[data-state-badge=destroyed]")).toBeVisible({ timeout: 60_000 });
  const left = await call<{ instances: unknown[] }>("GET", "/instances");
  expect(left.instances).toEqual([]);
});

test("everything by keyboard", async ({ page }) => {
  await page.goto(cloud.console_url);
  await expect(page.getByLabel("Email")).toBeVisible();
  await tabTo(page, page.getByLabel("Email"));
  await page.keyboard.type(cloud.demo.email);
  await page.keyboard.press("Tab");
  await page.keyboard.type(cloud.demo.password);
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { name: "Instances" })).toBeVisible();
  await page.keyboard.press("Control+k");
  await expect(page.getByRole("combobox", { name: "Search and commands" })).toBeFocused();
  await page.keyboard.type("deploy");
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { name: "Deploy" })).toBeVisible();
  const gpu = page.getByLabel("GPU", { exact: false }).first();
  await tabTo(page, gpu);
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { name: "Race" })).toBeVisible();
  const destroy = page.getByRole("button", { name: "Destroy" });
  await tabTo(page, destroy);
  await page.keyboard.press("Enter");
  await expect(page.getByRole("dialog")).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(destroy).toBeFocused();
  await page.keyboard.press("Enter");
  const name = (await page.getByRole("dialog").locator("code").innerText()).trim();
  // The dialog has the focus, keeps it, and begins where one types.
  await page.keyboard.type(name);
  await tabTo(page, page.getByRole("button", { name: "Destroy it" }));
  await page.keyboard.press("Enter");
  await expect(page.locator("[data-state-badge=destroyed]")).toBeVisible({ timeout: 60_000 });
});
