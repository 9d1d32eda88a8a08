import type { ReactNode } from "react";
import { cn } from "@/lib/cn";

/** One figure that matters, with what it means below. */
export function Stat({ label, value, tone, children }: { label: string; value: ReactNode; tone?: "good" | "warn" | "bad"; children?: ReactNode }) {
  return (
    <div className="grid min-w-0 content-start gap-0.5 rounded-lg border bg-card px-3 py-2.5">
      <span className="text-xs text-muted-foreground">{label}</span>
      <span
        className={cn(
          "text-lg leading-7 font-semibold tabular-nums",
          tone === "good" && "text-good",
          tone === "warn" && "text-warn",
          tone === "bad" && "text-bad",
        )}
      >
        {value}
      </span>
      {children && <span className="text-xs break-words text-muted-foreground">{children}</span>}
    </div>
  );
}

export const Stats = ({ children }: { children: ReactNode }) => <div className="grid grid-cols-2 gap-2 sm:gap-3 lg:grid-cols-4">{children}</div>;
