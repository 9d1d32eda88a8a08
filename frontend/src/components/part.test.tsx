import { render, screen } from "@testing-library/react";
import { lazy } from "react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Part } from "@/components/part";

// React tells the console about what a boundary caught.
beforeEach(() => void vi.spyOn(console, "error").mockImplementation(() => undefined));
afterEach(() => vi.restoreAllMocks());

function Throws(): never {
  throw new Error("Cannot read properties of undefined");
}

test("what breaks in one part leaves the others", async () => {
  render(
    <>
      <Part>
        <Throws />
      </Part>
      <Part>
        <p>still here</p>
      </Part>
    </>,
  );
  expect(screen.getByRole("alert")).toHaveTextContent("Cannot read properties of undefined");
  expect(screen.getByText("still here")).toBeVisible();
  expect(screen.getByRole("button", { name: "Reload" })).toBeVisible();
});

test("a file that does not come is said to be that", async () => {
  const Missing = lazy(() => Promise.reject(new TypeError("Failed to fetch dynamically imported module: /assets/metrics-1a.js")));
  render(
    <Part>
      <Missing />
    </Part>,
  );
  expect(await screen.findByRole("alert")).toHaveTextContent("could not be loaded");
});

test("a part that nobody misses may vanish instead", async () => {
  const { container } = render(
    <Part broken={null}>
      <Throws />
    </Part>,
  );
  expect(container).toBeEmptyDOMElement();
});
