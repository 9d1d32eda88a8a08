/** A dialog behind a button. What draws it is loaded with the first press: no page waits for it. */
import { Slot } from "radix-ui";
import { lazy, useRef, useState, type ReactNode } from "react";
import { Part } from "@/components/part";

const ModalDialog = lazy(async () => ({ default: (await import("@/components/ui/dialog")).ModalDialog }));

export function Modal(props: {
  trigger: ReactNode;
  heading: string;
  description?: string;
  className?: string;
  children: (close: () => void) => ReactNode;
}) {
  const [open, setOpen] = useState(false);
  const trigger = useRef<HTMLButtonElement>(null);
  const close = () => setOpen(false);
  return (
    <>
      <Slot.Root ref={trigger} aria-haspopup="dialog" aria-expanded={open} onClick={() => setOpen(true)}>
        {props.trigger}
      </Slot.Root>
      {open && (
        <Part waiting={null}>
          <ModalDialog heading={props.heading} description={props.description} className={props.className} onClose={close} returnTo={trigger}>
            {props.children(close)}
          </ModalDialog>
        </Part>
      )}
    </>
  );
}
