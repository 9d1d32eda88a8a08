/** Lighthouse on every page, as on a phone, or on those that PAGES names; see tools/lighthouse. */
import { spawn } from "node:child_process";
import { text } from "node:stream/consumers";
import { cloud, destroyed, pages, running, test } from "../e2e/cloud";
import { figure } from "./figures";

test("lighthouse", async ({}, testInfo) => {
  const wanted = process.env.PAGES?.split(" ");
  const instance = await running("lighthouse");
  const asked = {
    chromium: testInfo.project.use.launchOptions?.executablePath,
    console_url: cloud.console_url,
    email: cloud.demo.email,
    password: cloud.demo.password,
    reports: "test-results/lighthouse",
    pages: [["login", "/login"], ...pages(instance.id)].filter(([name]) => wanted === undefined || wanted.includes(name!)),
  };
  // What it says of each page is seen while it goes on.
  const run = spawn("node", ["tools/lighthouse/run.mjs", JSON.stringify(asked)], { stdio: ["ignore", "pipe", "inherit"], timeout: 880_000 });
  const scores = JSON.parse(await text(run.stdout)) as Record<string, Record<string, number>>;
  for (const kind of ["performance", "accessibility", "best_practices"]) {
    figure(`lighthouse_${kind}`, Math.min(...Object.values(scores).map((one) => one[kind]!)));
  }
  figure("lighthouse_each", scores);
  await destroyed(instance.id);
});
