import { Check, Copy as Icon } from "lucide-react";
import { useState } from "react";
import { Button } from "@/components/ui/button";

export function Snippet({ text, label }: { text: string; label: string }) {
  const [done, setDone] = useState(false);
  return (
    <div className="flex max-w-full items-start gap-2 rounded-md border bg-muted py-1 pr-1 pl-2.5">
      <code className="min-w-0 flex-1 overflow-x-auto py-1.5 font-mono text-xs whitespace-pre" tabIndex={0} role="group" aria-label={label}>
        {text}
      </code>
      <Button
        variant="ghost"
        size="icon"
        className="size-7 shrink-0"
        aria-label={`Copy ${label}`}
        onClick={() => {
          void navigator.clipboard?.writeText(text);
          setDone(true);
          setTimeout(() => setDone(false), 1500);
        }}
      >
        {done ? <Check /> : <Icon />}
      </Button>
    </div>
  );
}
