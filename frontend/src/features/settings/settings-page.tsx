import { useEffect, useState } from "react";
import { useListSshKeysQuery, useSetDefaultsMutation, useSetSshKeysMutation, useShowDefaultsQuery, useWhoAmIQuery, type DefaultsBody } from "@/api";
import { PageHead } from "@/components/page";
import { Section } from "@/components/section";
import { ErrorPanel, Loading } from "@/components/states";
import { tell } from "@/components/tell";
import { Button } from "@/components/ui/button";
import { Keys } from "@/features/settings/keys";
import { Sessions } from "@/features/settings/sessions";
import { Storage } from "@/features/settings/storage";
import { Webhooks } from "@/features/settings/webhooks";
import { cn } from "@/lib/cn";
import { linesOf } from "@/lib/format";
import { useHash } from "@/lib/use-hash";
import { useTitle } from "@/lib/use-title";

function Account() {
  const { data, error, refetch } = useWhoAmIQuery();
  if (error && !data) return <ErrorPanel error={error} retry={refetch} />;
  const me = data?.data;
  const facts: [string, string][] = [
    ["Email", me?.email ?? "…"],
    ["Role", me ? (me.admin ? "administrator of this deployment" : "user") : "…"],
    ["Since", me ? new Date(me.created_at).toLocaleDateString() : "…"],
  ];
  return (
    <dl className="grid grid-cols-2 gap-3 text-sm sm:grid-cols-3">
      {facts.map(([label, value]) => (
        <div key={label} className="first:max-sm:col-span-2">
          <dt className="text-xs text-muted-foreground">{label}</dt>
          <dd className="font-medium break-words">{value}</dd>
        </div>
      ))}
    </dl>
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
  const same = lines.join("\n") === (kept ?? []).join("\n");
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
        <span className="font-medium">Public keys, one a line</span>
        <textarea
          className="min-h-24 w-full rounded-md border bg-card p-2 font-mono text-xs"
          placeholder="ssh-ed25519 AAAA… me@laptop"
          spellCheck={false}
          value={text}
          onChange={(e) => setText(e.target.value)}
        />
      </label>
      <Button type="submit" variant="outline" className="justify-self-start" disabled={saving} disabledReason={same ? "Nothing has changed." : null}>
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
    <fieldset className="grid gap-1.5">
      <legend className="sr-only">Default strategy</legend>
      {Object.entries(strategies).map(([name, words]) => (
        <label
          key={name}
          className={cn("flex cursor-pointer items-start gap-3 rounded-md border px-3 py-2 text-sm", name === strategy ? "border-primary bg-muted/50" : "hover:bg-muted/40")}
        >
          <input
            type="radio"
            name="strategy"
            className="mt-0.5 size-4 shrink-0 accent-primary max-sm:size-6"
            checked={name === strategy}
            onChange={() =>
              void tell(`${name.replaceAll("_", " ")} is your default`, save({ defaultsBody: { strategy: name as DefaultsBody["strategy"] } }).unwrap())
            }
          />
          <span className="grid min-w-0">
            <span className="font-medium">{name.replaceAll("_", " ")}</span>
            <span className="text-xs text-muted-foreground">{words}</span>
          </span>
        </label>
      ))}
    </fieldset>
  );
}

const SECTIONS = [
  ["account", "Account", "Who is logged in here.", Account],
  ["sessions", "Sessions", "Browsers and programs that are logged in as you. What was ended is refused at its next renewal.", Sessions],
  ["ssh", "SSH keys", "Who may log in to your machines. Those that run take a change within seconds.", SshKeys],
  ["strategy", "Default strategy", "How a machine is found when nothing else is said.", Defaults],
  ["storage", "Storage", "Where snapshots lie, encrypted on the machine before they are sent. An instance stays in its bucket all its life.", Storage],
  ["keys", "API keys", "For the command line and programs. Each does what you may do, until it is revoked.", Keys],
  ["webhooks", "Webhooks", "Told when an instance is ready, idles, hibernates, wakes, is suspect, fails over or nears its budget.", Webhooks],
] as const;

export function SettingsPage() {
  useTitle("Settings");
  useHash();
  return (
    <div className="grid gap-5">
      <PageHead title="Settings" words="Yours alone: what you choose here touches nobody else.">
        <nav aria-label="Parts of the settings" className="flex flex-wrap gap-x-3 gap-y-1 text-sm">
          {SECTIONS.map(([id, title]) => (
            <a key={id} href={`#${id}`} className="inline-flex min-h-6 items-center text-muted-foreground underline-offset-4 hover:text-foreground hover:underline">
              {title}
            </a>
          ))}
        </nav>
      </PageHead>
      {SECTIONS.map(([id, title, words, Content]) => (
        <Section key={id} id={id} title={title} words={words}>
          <Content />
        </Section>
      ))}
    </div>
  );
}
