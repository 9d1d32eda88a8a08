import type { ReactNode } from "react";
import { Card } from "@/components/ui/card";

/** A part of a long page: what it is and what for at the left, the thing itself beside it. */
export function Section({ id, title, words, bare = false, children }: { id: string; title: string; words?: ReactNode; bare?: boolean; children: ReactNode }) {
  return (
    <section id={id} aria-labelledby={`${id}-title`} className="grid scroll-mt-14 gap-3 border-t pt-5 lg:grid-cols-[14rem_minmax(0,1fr)] lg:gap-8">
      <div className="grid content-start gap-1">
        <h2 id={`${id}-title`} className="text-sm font-semibold">
          {title}
        </h2>
        {words && <div className="grid max-w-prose gap-1 text-sm text-muted-foreground">{words}</div>}
      </div>
      {bare ? <div className="grid content-start gap-3">{children}</div> : <Card>{children}</Card>}
    </section>
  );
}
