/** Lighthouse on every page, as on a phone; see tools/lighthouse. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { cloud, destroyed, pages, running, test } from "../e2e/cloud";
import { figure } from "./figures";

test("lighthouse", async ({}, testInfo) => {
  const instance = await running("lighthouse");
  const asked = {
    chromium: testInfo.project.use.launchOptions?.executablePath,
    console_url: cloud.console_url,
    email: cloud.demo.email,
    password: cloud.demo.password,
    pages: [["login", "/login"], ...pages(instance.id)],
  };
  const { stdout } = await promisify(execFile)("node", ["tools/lighthouse/run.mjs", JSON.stringify(asked)], { timeout: 880_000, maxBuffer: 1 << 24 });
  const scores = JSON.parse(stdout) as Record<string, Record<string, number>>;
  for (const kind of ["performance", "accessibility", "best_practices"]) {
    figure(`lighthouse_${kind}`, Math.min(...Object.values(scores).map((one) => one[kind]!)));
  }
  figure("lighthouse_each", scores);
  await destroyed(instance.id);
});
