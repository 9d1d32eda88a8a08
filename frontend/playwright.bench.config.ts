import base from "./playwright.config";

/** What takes minutes or measures: `make bench NAME=console`. Traces would take a good part of what is measured. */
export default { ...base, testDir: "tests/bench", timeout: 900_000, reporter: [["line"]], use: { ...base.use, trace: "off" as const, actionTimeout: 30_000 } };
