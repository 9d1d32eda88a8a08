/** Loading, empty, broken: what every list shows besides its rows. */
import { useEffect, useState, type ReactNode } from "react";
import { problemOf } from "@/api/errors";
import { Button } from "@/components/ui/button";
import { useNow } from "@/lib/use-now";
import { span } from "@/lib/format";

/** For how long this has been shown, in the steps that matter. */
function useAge(): number {
  const [age, setAge] = useState(0);
  useEffect(() => {
    const timers = [201, 8_001].map((ms) => setTimeout(() => setAge(ms), ms));
    return () => timers.forEach(clearTimeout);
  }, []);
  return age;
}

export function Loading({ label = "Loading" }: { label?: string }) {
  const waited = useAge();
  const late = waited > 200;
  return (
    <div role="status" className="grid gap-2 py-4">
      <span className={waited > 8_000 ? "text-sm text-muted-foreground" : "sr-only"}>{waited > 8_000 ? `${label}: it takes longer than usual…` : label}</span>
      {late && [0, 1, 2].map((row) => <div key={row} aria-hidden className="h-9 animate-pulse rounded-md bg-muted" />)}
    </div>
  );
}

export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="grid justify-items-center gap-3 rounded-lg border border-dashed p-8 text-center">
      <p className="font-medium">{title}</p>
      <div className="grid max-w-full justify-items-center gap-3 text-sm text-muted-foreground">{children}</div>
    </div>
  );
}

export function ErrorPanel({ error, retry }: { error: unknown; retry?: () => PromiseLike<unknown> }) {
  const problem = problemOf(error);
  const [trying, setTrying] = useState(false);
  const again = async () => {
    setTrying(true);
    await retry?.();
    setTrying(false);
  };
  return (
    <div role="alert" className="grid gap-2 rounded-lg border border-bad/40 bg-bad/5 p-4 text-sm">
      <p className="font-semibold text-bad">{problem.title}</p>
      <p>{problem.message}</p>
      {problem.requestId && <p className="text-xs text-muted-foreground">Request {problem.requestId}</p>}
      {retry && (
        <Button variant="outline" size="sm" className="justify-self-start" disabled={trying} onClick={() => void again()}>
          {trying ? "Trying…" : "Try again"}
        </Button>
      )}
    </div>
  );
}

/** How old what is shown is. */
export function Freshness({ at, failed }: { at: number | undefined; failed: boolean }) {
  const now = useNow();
  if (!at && !failed) return null;
  const age = (now - (at ?? now)) / 1000;
  const words = failed ? (at ? `Not reached; from ${span(age)} ago` : "Not reached") : age < 2 ? "Up to date" : `Updated ${span(age)} ago`;
  return (
    <span className="flex items-center gap-2 text-xs whitespace-nowrap text-muted-foreground">
      <span aria-hidden className={`size-2 rounded-full ${failed ? "bg-bad" : age > 60 ? "bg-warn" : "bg-good"}`} />
      {words}
    </span>
  );
}
