import { useState, type ReactNode } from "react";
import { Button } from "@/components/ui/button";
import { Dialog, DialogClose, DialogContent, DialogTrigger } from "@/components/ui/dialog";
import { Input } from "@/components/ui/field";

/** A destructive action says what is lost; one that cannot be undone wants the name typed. */
export function Confirm(props: {
  trigger: ReactNode;
  heading: string;
  description: string;
  action: string;
  typed?: string;
  onConfirm: () => void;
}) {
  const [text, setText] = useState("");
  const [open, setOpen] = useState(false);
  const missing = props.typed !== undefined && text !== props.typed;
  return (
    <Dialog
      open={open}
      onOpenChange={(next) => {
        setOpen(next);
        setText("");
      }}
    >
      <DialogTrigger asChild>{props.trigger}</DialogTrigger>
      <DialogContent heading={props.heading} description={props.description}>
        {props.typed !== undefined && (
          <label className="mb-4 grid gap-1 text-sm">
            Type <code className="font-mono font-semibold">{props.typed}</code> to confirm
            <Input value={text} onChange={(event) => setText(event.target.value)} autoComplete="off" />
          </label>
        )}
        <div className="flex justify-end gap-2">
          <DialogClose asChild>
            <Button variant="outline">Cancel</Button>
          </DialogClose>
          <Button
            variant="danger"
            disabledReason={missing ? "Type the name first." : null}
            onClick={() => {
              setOpen(false);
              props.onConfirm();
            }}
          >
            {props.action}
          </Button>
        </div>
      </DialogContent>
    </Dialog>
  );
}
