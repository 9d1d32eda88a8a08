import { useState } from "react";
import { useSnapshotKeyQuery, type InstanceView } from "@/api";
import { Snippet } from "@/components/copy";
import { ErrorPanel, Loading } from "@/components/states";
import { Button } from "@/components/ui/button";

/** Nothing is asked for, and so nothing logged, before it is wanted. */
export function Recovery({ instance }: { instance: InstanceView }) {
  const [wanted, setWanted] = useState(false);
  const { data, error, isLoading, refetch } = useSnapshotKeyQuery({ instance: instance.id }, { skip: !wanted });
  if (!wanted) {
    return (
      <Button variant="outline" onClick={() => setWanted(true)}>
        Show the key
      </Button>
    );
  }
  if (isLoading) return <Loading />;
  if (!data) return <ErrorPanel error={error} retry={refetch} />;
  const { store, endpoint, key } = data.data;
  return (
    <div className="grid gap-2 text-sm">
      <Snippet label="snapshot key" text={key} />
      <p className="text-muted-foreground">
        Stored in {store}
        {endpoint && `, at ${endpoint}`}. How: docs/recovery.md.
      </p>
    </div>
  );
}
