import base from "./playwright.config";

/** What takes minutes or measures: `make bench NAME=console`. */
export default { ...base, testDir: "tests/bench", timeout: 900_000, reporter: [["line"]] };
