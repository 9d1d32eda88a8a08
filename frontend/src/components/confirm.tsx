import { useState, type ReactNode } from "react";
import { Modal } from "@/components/modal";
import { Button } from "@/components/ui/button";
import { Input } from "@/components/ui/field";

interface Question {
  action: string;
  typed?: string;
  onConfirm: () => void;
  children?: ReactNode;
}

function Answer({ action, typed, onConfirm, children, close }: Question & { close: () => void }) {
  const [text, setText] = useState("");
  const missing = typed !== undefined && text !== typed;
  return (
    <>
      {children}
      {typed !== undefined && (
        <label className="mb-4 grid gap-1 text-sm">
          <span>
            Type <code className="font-mono font-semibold">{typed}</code> to confirm
          </span>
          <Input value={text} onChange={(event) => setText(event.target.value)} autoComplete="off" />
        </label>
      )}
      <div className="flex justify-end gap-2">
        <Button variant="outline" onClick={close}>
          Cancel
        </Button>
        <Button
          variant="danger"
          disabledReason={missing ? "Type the name first." : null}
          onClick={() => {
            close();
            onConfirm();
          }}
        >
          {action}
        </Button>
      </div>
    </>
  );
}

/** A destructive action says what is lost; one that cannot be undone wants the name typed. */
export function Confirm({ trigger, heading, description, ...question }: Question & { trigger: ReactNode; heading: string; description: string }) {
  return (
    <Modal trigger={trigger} heading={heading} description={description}>
      {(close) => <Answer {...question} close={close} />}
    </Modal>
  );
}
