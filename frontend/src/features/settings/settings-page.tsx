import { useEffect, useState, type FormEvent } from "react";
import {
  useCreateKeyMutation,
  useListKeysQuery,
  useListSshKeysQuery,
  useRevokeKeyMutation,
  useSetDefaultsMutation,
  useSetSshKeysMutation,
  useShowDefaultsQuery,
  useWhoAmIQuery,
  type DefaultsBody,
} from "@/api";
import { Confirm } from "@/components/confirm";
import { Snippet } from "@/components/copy";
import { ErrorPanel, Loading } from "@/components/states";
import { tell } from "@/components/tell";
import { Button } from "@/components/ui/button";
import { Card, CardTitle } from "@/components/ui/card";
import { Field, Input } from "@/components/ui/field";
import { Sessions } from "@/features/settings/sessions";
import { Webhooks } from "@/features/settings/webhooks";
import { linesOf } from "@/lib/format";
import { useTitle } from "@/lib/use-title";

function Account() {
  const { data, error, refetch } = useWhoAmIQuery();
  if (error && !data) return <ErrorPanel error={error} retry={refetch} />;
  const me = data?.data;
  return (
    <p className="text-sm">
      {me ? (
        <>
          Logged in as <strong>{me.email}</strong>
          {me.admin && ", an administrator"}, since {new Date(me.created_at).toLocaleDateString()}.
        </>
      ) : (
        "…"
      )}
    </p>
  );
}

function Keys() {
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
    <div className="grid gap-3">
      {made.data && (
        <div role="status" className="grid gap-2 rounded-md border border-good/40 bg-good/5 p-3 text-sm">
          <p>Shown once; keep it now. It does what you may do.</p>
          <Snippet label="API key" text={made.data.data.key} />
        </div>
      )}
      <ul className="grid gap-2 text-sm">
        {keys.map((key) => (
          <li key={key.id} className="flex flex-wrap items-center justify-between gap-2 border-b pb-2 last:border-0">
            <span>
              <strong>{key.name}</strong>{" "}
              <span className="text-xs text-muted-foreground">
                made {new Date(key.created_at).toLocaleDateString()},{" "}
                {key.last_used_at ? `last used ${new Date(key.last_used_at).toLocaleString()}` : "never used"}
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
      <form onSubmit={add} className="flex flex-wrap items-end gap-3" aria-label="New API key">
        <Field label="Name of a new key">
          <Input required maxLength={60} value={name} onChange={(e) => setName(e.target.value)} />
        </Field>
        <Button type="submit" variant="outline" disabled={made.isLoading}>
          Make a key
        </Button>
      </form>
    </div>
  );
}

function SshKeys() {
  const { data, error, isLoading, refetch } = useListSshKeysQuery();
  const [save, { isLoading: saving }] = useSetSshKeysMutation();
  const [text, setText] = useState("");
  const kept = data?.data.ssh_keys;
  useEffect(() => setText((kept ?? []).join("\n")), [kept]);
  if (isLoading) return <Loading />;
  if (error && !data) return <ErrorPanel error={error} retry={refetch} />;
  const lines = linesOf(text);
  return (
    <form
      className="grid gap-3"
      aria-label="SSH keys"
      onSubmit={(event) => {
        event.preventDefault();
        void tell("Your SSH keys are saved; running machines take them within seconds", save({ sshKeysBody: { ssh_keys: lines } }).unwrap());
      }}
    >
      <label className="grid gap-1 text-sm">
        <span className="font-medium">SSH public keys, one a line</span>
        <textarea
          className="min-h-24 w-full rounded-md border bg-card p-2 font-mono text-xs"
          placeholder="ssh-ed25519 AAAA… me@laptop"
          spellCheck={false}
          value={text}
          onChange={(e) => setText(e.target.value)}
        />
      </label>
      <Button type="submit" variant="outline" className="justify-self-start" disabled={saving}>
        Save
      </Button>
    </form>
  );
}

function Defaults() {
  const { data, error, isLoading, refetch } = useShowDefaultsQuery();
  const [save] = useSetDefaultsMutation();
  if (isLoading) return <Loading />;
  if (error && !data) return <ErrorPanel error={error} retry={refetch} />;
  const { strategy, strategies } = data!.data;
  return (
    <fieldset className="grid gap-2">
      <legend className="mb-2 text-sm text-muted-foreground">How a machine is found when nothing else is said</legend>
      {Object.entries(strategies).map(([name, words]) => (
        <label key={name} className="flex items-start gap-3 text-sm">
          <input
            type="radio"
            name="strategy"
            className="mt-1 size-4 accent-primary max-sm:size-6"
            checked={name === strategy}
            onChange={() =>
              void tell(`${name.replaceAll("_", " ")} is your default`, save({ defaultsBody: { strategy: name as DefaultsBody["strategy"] } }).unwrap())
            }
          />
          <span>
            <strong>{name.replaceAll("_", " ")}</strong>
            <span className="block text-muted-foreground">{words}</span>
          </span>
        </label>
      ))}
    </fieldset>
  );
}

export function SettingsPage() {
  useTitle("Settings");
  return (
    <div className="grid gap-4">
      <h1 className="text-xl font-semibold">Settings</h1>
      <Card>
        <CardTitle>Account</CardTitle>
        <Account />
      </Card>
      <Card>
        <CardTitle>Sessions</CardTitle>
        <Sessions />
      </Card>
      <Card>
        <CardTitle>Default strategy</CardTitle>
        <Defaults />
      </Card>
      <Card>
        <CardTitle>API keys</CardTitle>
        <Keys />
      </Card>
      <Card>
        <CardTitle>Webhooks</CardTitle>
        <Webhooks />
      </Card>
      <Card>
        <CardTitle>SSH keys</CardTitle>
        <SshKeys />
      </Card>
    </div>
  );
}
