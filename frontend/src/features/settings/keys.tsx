import { useState, type FormEvent } from "react";
import { useCreateKeyMutation, useListKeysQuery, useRevokeKeyMutation } from "@/api";
import { Confirm } from "@/components/confirm";
import { Snippet } from "@/components/copy";
import { ErrorPanel, Loading } from "@/components/states";
import { tell } from "@/components/tell";
import { Button } from "@/components/ui/button";
import { Field, Input } from "@/components/ui/field";
import { When } from "@/components/when";

export function Keys() {
  const { data, error, isLoading, refetch } = useListKeysQuery();
  const [create, made] = useCreateKeyMutation();
  const [revoke] = useRevokeKeyMutation();
  const [name, setName] = useState("");
  const add = async (event: FormEvent) => {
    event.preventDefault();
    if (await tell(`Key ${name} is made`, create({ keyRequest: { name } }).unwrap())) setName("");
  };
  if (isLoading) return <Loading />;
  if (error && !data) return <ErrorPanel error={error} retry={refetch} />;
  const keys = (data?.data.keys ?? []).filter((one) => one.revoked_at === null);
  return (
    <div className="grid gap-4 text-sm">
      {made.data && (
        <div role="status" className="grid gap-2 rounded-md border border-good/40 bg-good/5 p-3">
          <p>Shown once; keep it now. It does what you may do.</p>
          <Snippet label="API key" text={made.data.data.key} />
        </div>
      )}
      {keys.length === 0 ? (
        <p className="text-muted-foreground">No keys yet. <code className="font-mono text-xs">dumont login</code> makes one, and so does the form below.</p>
      ) : (
        <ul className="divide-y" aria-label="API keys">
          {keys.map((key) => (
            <li key={key.id} className="flex items-center justify-between gap-3 py-2 first:pt-0">
              <span className="grid min-w-0">
                <span className="font-medium break-words">{key.name}</span>
                <span className="text-xs text-muted-foreground">
                  Made <When at={key.created_at} />, {key.last_used_at ? <>last used <When at={key.last_used_at} /></> : "never used"}
                </span>
              </span>
              <Confirm
                trigger={
                  <Button size="sm" variant="danger" aria-label={`Revoke ${key.name}`}>
                    Revoke
                  </Button>
                }
                heading={`Revoke ${key.name}?`}
                description="Whatever uses it is refused from now on. It cannot be brought back."
                action="Revoke it"
                onConfirm={() => void tell(`Key ${key.name} is revoked`, revoke({ key: key.id }).unwrap())}
              />
            </li>
          ))}
        </ul>
      )}
      <form onSubmit={add} className="flex items-end gap-2 border-t pt-4" aria-label="New API key">
        <div className="max-w-xs min-w-0 flex-1">
          <Field label="Name of a new key">
            <Input required maxLength={60} placeholder="ci" value={name} onChange={(e) => setName(e.target.value)} />
          </Field>
        </div>
        <Button type="submit" variant="outline" disabled={made.isLoading}>
          Make a key
        </Button>
      </form>
    </div>
  );
}
