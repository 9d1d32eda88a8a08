import { Suspense, type ReactNode } from "react";
import { Boundary } from "@/components/broken";
import { Loading } from "@/components/states";

/** A part of a page that loads by itself, and breaks by itself. */
export function Part({ children, waiting = <Loading />, broken }: { children: ReactNode; waiting?: ReactNode; broken?: ReactNode }) {
  return (
    <Boundary broken={broken}>
      <Suspense fallback={waiting}>{children}</Suspense>
    </Boundary>
  );
}
