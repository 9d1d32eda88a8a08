/** What is set once: buckets of one's own, price alerts. */
import { accessible, cloud, expect, logIn, test } from "./cloud";

test("a bucket is kept only once it was tried, becomes the default, and is forgotten", async ({ page }) => {
  await logIn(page);
  await page.goto(`${cloud.console_url}/settings#storage`);
  await page.getByRole("button", { name: "Add a bucket" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Name").fill("lab");
  await dialog.getByRole("textbox", { name: "Bucket" }).fill("nobody-made-this-one");
  await dialog.getByLabel("Endpoint").fill(cloud.s3.endpoint);
  await dialog.getByLabel("Access key").fill(cloud.s3.access_key);
  await dialog.getByLabel("Secret key").fill(cloud.s3.secret_key);
  await dialog.getByRole("button", { name: "Try and keep it" }).click();
  await expect(dialog.getByRole("alert")).toContainText("was not saved");
  await expect(dialog.getByRole("list", { name: "What was tried" })).toContainText("Write an object:");
  await accessible(page);
  await dialog.getByRole("textbox", { name: "Bucket" }).fill(cloud.s3.bucket);
  await dialog.getByRole("button", { name: "Try and keep it" }).click();
  const lab = page.getByRole("listitem", { name: "Bucket lab" });
  await expect(lab).toContainText("per GB and month");
  await lab.getByRole("button", { name: "Test lab" }).click();
  await expect(lab.getByRole("list", { name: "What was tried" }).getByRole("listitem")).toHaveCount(5);
  await lab.getByRole("button", { name: "Make lab the default" }).click();
  await expect(lab).toContainText("default");
  await accessible(page);

  await page.goto(`${cloud.console_url}/deploy`);
  await page.getByText("More: snapshots, storage").click();
  await expect(page.getByRole("combobox", { name: "Bucket" }).getByRole("option", { name: "default (lab)" })).toHaveCount(1);

  await page.goto(`${cloud.console_url}/settings#storage`);
  await page.getByRole("button", { name: "Remove lab" }).click();
  await page.getByRole("button", { name: "Forget it" }).click();
  await expect(lab).toHaveCount(0);
  await expect(page.getByRole("listitem", { name: "Bucket dumont" })).toContainText("default");
});

test("a price alert is made and deleted", async ({ page }) => {
  await logIn(page);
  await page.goto(`${cloud.console_url}/market?gpu=RTX+4090`);
  const form = page.getByRole("form", { name: "New price alert" });
  await form.getByRole("textbox").fill("9.5");
  await form.getByRole("button", { name: "Alert me" }).click();
  const alert = page.getByRole("list", { name: "Your price alerts" }).getByRole("listitem");
  await expect(alert).toContainText("RTX 4090 below $9.500/h");
  await accessible(page);
  await alert.getByRole("button", { name: /Delete/ }).click();
  await expect(page.getByText("None yet. One tells you once")).toBeVisible();
});
