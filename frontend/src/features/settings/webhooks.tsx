import { useState, type FormEvent } from "react";
import { useCreateWebhookMutation, useDeleteWebhookMutation, useListWebhooksQuery } from "@/api";
import { Confirm } from "@/components/confirm";
import { Snippet } from "@/components/copy";
import { ErrorPanel, Loading } from "@/components/states";
import { tell } from "@/components/tell";
import { Button } from "@/components/ui/button";
import { Field, Input, Select } from "@/components/ui/field";
import { When } from "@/components/when";

export function Webhooks() {
  const { data, error, isLoading, refetch } = useListWebhooksQuery();
  const [create, made] = useCreateWebhookMutation();
  const [remove] = useDeleteWebhookMutation();
  const [url, setUrl] = useState("");
  const [form, setForm] = useState<"json" | "slack">("json");
  const add = async (event: FormEvent) => {
    event.preventDefault();
    if (await tell("It will be told", create({ webhookBody: { url, form } }).unwrap())) setUrl("");
  };
  if (isLoading) return <Loading />;
  if (error && !data) return <ErrorPanel error={error} retry={refetch} />;
  const hooks = data?.data.webhooks ?? [];
  return (
    <div className="grid gap-4 text-sm">
      {made.data && (
        <div role="status" className="grid gap-2 rounded-md border border-good/40 bg-good/5 p-3 text-sm">
          <p>The secret that signs each delivery, shown once:</p>
          <Snippet label="webhook secret" text={made.data.data.secret} />
        </div>
      )}
      {hooks.length === 0 && <p className="text-muted-foreground">Nobody is told yet.</p>}
      <ul className="divide-y empty:hidden" aria-label="Webhooks">
        {hooks.map((hook) => {
          const last = hook.deliveries[0];
          return (
            <li key={hook.id} className="flex items-center justify-between gap-3 py-2 first:pt-0">
              <span className="grid min-w-0">
                <span className="break-all">
                  {hook.url} <span className="text-xs text-muted-foreground">{hook.form}</span>
                </span>
                <span className={last?.problem ? "text-xs text-warn" : "text-xs text-muted-foreground"}>
                  {last ? (
                    <>
                      {last.kind.replaceAll("_", " ")}, <When at={last.at} />: {last.problem ?? "told"}
                    </>
                  ) : (
                    "nothing told yet"
                  )}
                </span>
              </span>
              <Confirm
                trigger={
                  <Button size="sm" variant="danger">
                    Remove
                  </Button>
                }
                heading="Remove this webhook?"
                description={`${hook.url} is told no more.`}
                action="Remove it"
                onConfirm={() => void tell("Removed", remove({ webhook: hook.id }).unwrap())}
              />
            </li>
          );
        })}
      </ul>
      <form onSubmit={add} className="flex flex-wrap items-end gap-2 border-t pt-4" aria-label="New webhook">
        <div className="max-w-md min-w-48 flex-1">
          <Field label="Address">
            <Input required type="url" placeholder="https://" value={url} onChange={(e) => setUrl(e.target.value)} />
          </Field>
        </div>
        <Field label="Form">
          <Select value={form} onChange={(e) => setForm(e.target.value as "json" | "slack")}>
            <option value="json">signed JSON</option>
            <option value="slack">Slack text</option>
          </Select>
        </Field>
        <Button type="submit" variant="outline" disabled={made.isLoading}>
          Add
        </Button>
      </form>
    </div>
  );
}
