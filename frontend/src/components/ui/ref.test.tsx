import { render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { createRef } from "react";
import { expect, test, vi } from "vitest";
import { Confirm } from "@/components/confirm";
import { Button } from "@/components/ui/button";
import { Input } from "@/components/ui/field";

test("what stands under asChild hands its ref on", () => {
  const button = createRef<HTMLButtonElement>();
  const input = createRef<HTMLInputElement>();
  render(
    <>
      <Button ref={button}>Go</Button>
      <Input ref={input} aria-label="in" />
    </>,
  );
  expect(button.current).toBeInstanceOf(HTMLButtonElement);
  expect(input.current).toBeInstanceOf(HTMLInputElement);
});

test("a button that cannot be pressed says why and does nothing", async () => {
  const pressed = vi.fn();
  render(
    <Button disabledReason="Needs hibernated." onClick={pressed}>
      Wake
    </Button>,
  );
  const button = screen.getByRole("button", { name: "Wake" });
  await userEvent.click(button);
  expect(pressed).not.toHaveBeenCalled();
  expect(button).toHaveAttribute("title", "Needs hibernated.");
});

test("a destructive action waits for the typed name and gives the focus back", async () => {
  const done = vi.fn();
  render(<Confirm trigger={<Button>Destroy</Button>} heading="Destroy it?" description="All goes." action="Destroy it" typed="box" onConfirm={done} />);
  const trigger = screen.getByRole("button", { name: "Destroy" });
  await userEvent.click(trigger);
  await userEvent.click(await screen.findByRole("button", { name: "Destroy it" }));
  expect(done).not.toHaveBeenCalled();
  await userEvent.keyboard("{Escape}");
  expect(trigger).toHaveFocus();
  await userEvent.click(trigger);
  await userEvent.type(screen.getByRole("textbox"), "box");
  await userEvent.click(screen.getByRole("button", { name: "Destroy it" }));
  expect(done).toHaveBeenCalledOnce();
});
