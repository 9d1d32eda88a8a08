import type { ReactNode } from "react";

/** How every page begins: what it is, in one line what for, and its main actions. */
export function PageHead({ title, words, children }: { title: string; words?: string; children?: ReactNode }) {
  return (
    <div className="flex flex-wrap items-start justify-between gap-x-6 gap-y-2">
      <div className="grid min-w-0 gap-0.5">
        <h1 className="text-xl font-semibold tracking-tight">{title}</h1>
        {words && <p className="max-w-3xl text-sm text-muted-foreground">{words}</p>}
      </div>
      {children && <div className="flex flex-wrap items-center gap-2">{children}</div>}
    </div>
  );
}
