import { X } from "lucide-react";
import { Dialog as Radix } from "radix-ui";
import * as React from "react";
import { cn } from "@/lib/cn";

export const Dialog = Radix.Root;
export const DialogTrigger = Radix.Trigger;
export const DialogClose = Radix.Close;

export const DialogContent = React.forwardRef<
  HTMLDivElement,
  React.ComponentProps<typeof Radix.Content> & { heading: string; description?: string; hideHeading?: boolean }
>(({ className, children, heading, description, hideHeading, ...rest }, ref) => (
  <Radix.Portal>
    <Radix.Overlay className="fixed inset-0 z-40 bg-black/50" />
    <Radix.Content
      ref={ref}
      aria-describedby={description ? undefined : ""}
      className={cn(
        "fixed top-[12vh] left-1/2 z-50 max-h-[76vh] w-[calc(100vw-2rem)] max-w-lg -translate-x-1/2 overflow-auto rounded-lg border bg-card p-5 shadow-lg",
        className,
      )}
      {...rest}
    >
      <Radix.Title className={hideHeading ? "sr-only" : "mr-8 mb-1 text-base font-semibold"}>{heading}</Radix.Title>
      {description && <Radix.Description className="mb-4 text-sm text-muted-foreground">{description}</Radix.Description>}
      {children}
      {/* The last in the order of Tab: the first thing in focus is what the dialog is about. */}
      {!hideHeading && (
        <Radix.Close aria-label="Close" className="absolute top-3 right-3 grid size-8 place-items-center rounded-md text-muted-foreground hover:bg-muted">
          <X aria-hidden className="size-4" />
        </Radix.Close>
      )}
    </Radix.Content>
  </Radix.Portal>
));
DialogContent.displayName = "DialogContent";

/** One that stands open until it is closed, and gives the focus back to what opened it. */
export function ModalDialog(props: {
  heading: string;
  description?: string;
  className?: string;
  onClose: () => void;
  returnTo: React.RefObject<HTMLElement | null>;
  children: React.ReactNode;
}) {
  return (
    <Dialog open onOpenChange={(open) => !open && props.onClose()}>
      <DialogContent
        heading={props.heading}
        description={props.description}
        className={props.className}
        onCloseAutoFocus={(event) => {
          event.preventDefault();
          props.returnTo.current?.focus();
        }}
      >
        {props.children}
      </DialogContent>
    </Dialog>
  );
}
