import { accessible, cloud, expect, logIn, shot, test } from "./cloud";

test("a model from deploy to a streamed answer to delete", async ({ page }) => {
  await logIn(page);
  await page.goto(`${cloud.console_url}/models`);
  await page.getByPlaceholder("Qwen/Qwen2.5-7B-Instruct").fill("dumont/tiny-bigram");
  await page.getByRole("combobox", { name: "Runtime" }).selectOption("tiny");
  await page.getByRole("button", { name: "What does it need?" }).click();
  await expect(page.getByText("fits anywhere").first()).toBeVisible();
  await page.getByRole("button", { name: "Deploy it" }).click();
  await expect(page.getByRole("group", { name: "model key" })).toContainText("dm-");
  await expect(page.locator("[data-model-state=ready]")).toBeVisible({ timeout: 60_000 });
  await page.getByLabel("Message").fill("a machine");
  await page.getByRole("button", { name: "Send" }).click();
  await expect(page.getByText("tokens a second")).toBeVisible();
  await accessible(page);
  await shot(page, "models-chat");
  await page.getByRole("button", { name: "Delete" }).click();
  await page.getByRole("button", { name: "Delete it" }).click();
  await expect(page.getByText("No models yet")).toBeVisible();
});
