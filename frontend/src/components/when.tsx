import { moment, span } from "@/lib/format";
import { useNow } from "@/lib/use-now";

/** A moment on this clock; on hover in UTC. */
export function When({ at, className }: { at: string; className?: string }) {
  return (
    <time dateTime={at} title={at.replace("T", " ").replace(/(\.\d+)?Z$/, " UTC")} className={className}>
      {moment(at)}
    </time>
  );
}

/** How long since, moving. */
export function Since({ at }: { at: string }) {
  return <>{span((useNow() - Date.parse(at)) / 1000)}</>;
}
