import { useEffect, useRef, useState, type FormEvent } from "react";
import { Link } from "react-router";
import { useDeleteModelMutation, useDeployModelMutation, useListModelsQuery, useShowModelQuery, type DeploymentView, type NewDeploymentView } from "@/api";
import { PACE } from "@/api/hooks";
import { Confirm } from "@/components/confirm";
import { Snippet } from "@/components/copy";
import { Empty, ErrorPanel, Loading } from "@/components/states";
import { tell } from "@/components/tell";
import { Button } from "@/components/ui/button";
import { Card, CardTitle } from "@/components/ui/card";
import { Field, Input, Select } from "@/components/ui/field";
import { chat, type Figures, type Message } from "@/features/models/stream";
import { usdPerHour } from "@/lib/format";
import { paths } from "@/lib/paths";
import { useTitle } from "@/lib/use-title";

const MOVING = ["deploying", "waking"];

function Playground({ deployment, givenKey }: { deployment: DeploymentView; givenKey: string | null }) {
  const [key, setKey] = useState(givenKey ?? "");
  const [text, setText] = useState("");
  const [messages, setMessages] = useState<Message[]>([]);
  const [figures, setFigures] = useState<Figures | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const abort = useRef<AbortController | null>(null);
  const send = async (event: FormEvent) => {
    event.preventDefault();
    if (!text.trim() || busy) return;
    const asked: Message[] = [...messages, { role: "user", content: text }];
    setMessages([...asked, { role: "assistant", content: "" }]);
    setText("");
    setProblem(null);
    setBusy(true);
    abort.current = new AbortController();
    try {
      setFigures(
        await chat(deployment.endpoint, key, deployment.model, asked, abort.current.signal, (piece) =>
          setMessages((all) => [...all.slice(0, -1), { role: "assistant", content: (all.at(-1)?.content ?? "") + piece }]),
        ),
      );
    } catch (error) {
      if (!abort.current.signal.aborted) setProblem((error as Error).message);
    } finally {
      setBusy(false);
    }
  };
  return (
    <div className="grid gap-3">
      <Field label="The deployment's key" hint="Kept in this page only.">
        <Input type="password" autoComplete="off" value={key} onChange={(e) => setKey(e.target.value)} />
      </Field>
      <div role="log" aria-label="Conversation" tabIndex={0} className="grid max-h-80 min-h-24 content-start gap-2 overflow-auto rounded-md border bg-muted p-3 text-sm">
        {messages.length === 0 && <span className="text-muted-foreground">Ask something. A sleeping model wakes for it.</span>}
        {messages.map((one, index) => (
          <p key={index} className={one.role === "user" ? "font-medium" : "whitespace-pre-wrap"}>
            {one.role === "user" ? "You: " : ""}
            {one.content}
            {busy && index === messages.length - 1 && <span className="animate-pulse"> …</span>}
          </p>
        ))}
      </div>
      {problem && <p role="alert" className="text-sm text-bad">{problem}</p>}
      {figures?.firstS !== null && figures && (
        <p className="text-xs text-muted-foreground">
          First token after {(figures.firstS! * 1000).toFixed(0)} ms{figures.perSecond !== null && `, ${figures.perSecond.toFixed(0)} tokens a second`}
        </p>
      )}
      <form onSubmit={send} className="flex gap-2">
        <Input aria-label="Message" value={text} onChange={(e) => setText(e.target.value)} />
        {busy ? (
          <Button type="button" variant="outline" onClick={() => abort.current?.abort()}>
            Stop
          </Button>
        ) : (
          <Button type="submit" disabledReason={key ? null : "Enter the deployment's key first."}>
            Send
          </Button>
        )}
      </form>
      <details className="text-sm">
        <summary className="cursor-pointer font-medium">From your own code</summary>
        <div className="mt-2 grid gap-2">
          <Snippet
            label="Python"
            text={`from openai import OpenAI\n\nai = OpenAI(base_url="${deployment.endpoint}", api_key="dm-…")\nprint(ai.chat.completions.create(model="${deployment.model}",\n    messages=[{"role": "user", "content": "Hello"}]).choices[0].message.content)`}
          />
          <Snippet
            label="curl"
            text={`curl ${deployment.endpoint}/chat/completions \\\n  -H "Authorization: Bearer $KEY" -H "Content-Type: application/json" \\\n  -d '{"model": "${deployment.model}", "messages": [{"role": "user", "content": "Hello"}]}'`}
          />
        </div>
      </details>
    </div>
  );
}

function Deployment({ given, newKey, onMoved }: { given: DeploymentView; newKey: string | null; onMoved: () => PromiseLike<unknown> }) {
  // Looked at by itself while it moves; at rest the list says all there is.
  const moving = MOVING.includes(given.state);
  const { data } = useShowModelQuery({ model: given.id }, { pollingInterval: PACE.motion, skipPollingIfUnfocused: true, skip: !moving });
  const looked = moving ? data?.data : undefined;
  const moved = looked !== undefined && looked.state !== given.state;
  useEffect(() => {
    if (moved) void onMoved();
  }, [moved, onMoved]);
  const [remove] = useDeleteModelMutation();
  const [open, setOpen] = useState(newKey !== null);
  const one = looked ?? given;
  return (
    <li className="grid gap-3 rounded-lg border bg-card p-4">
      <div className="flex flex-wrap items-center justify-between gap-2">
        <span className="text-sm">
          <strong>{one.name}</strong> · {one.model} · {one.runtime} {one.quantization} ·{" "}
          <span data-model-state={one.state} className={one.state === "ready" ? "text-good" : one.state === "failed" ? "text-bad" : "text-info"}>
            {one.state}
          </span>
        </span>
        <span className="flex gap-2">
          <Button size="sm" variant="outline" aria-expanded={open} onClick={() => setOpen(!open)} disabledReason={one.state === "failed" ? "It failed." : null}>
            Playground
          </Button>
          <Confirm
            trigger={
              <Button size="sm" variant="danger">
                Delete
              </Button>
            }
            heading={`Delete ${one.name}?`}
            description="Its machine, its files and its key go for good."
            action="Delete it"
            onConfirm={() => void tell(`${one.name} is deleted`, remove({ model: one.id }).unwrap())}
          />
        </span>
      </div>
      <p className="text-xs text-muted-foreground">
        {one.fit?.why}. {one.requests} requests, {one.prompt_tokens} + {one.completion_tokens} tokens
        {one.usd_per_hour && `, ${usdPerHour(one.usd_per_hour)} now`}.{" "}
        {one.instance_id && (
          <Link className="underline" to={paths.instance(one.instance_id)}>
            Its instance
          </Link>
        )}
      </p>
      {one.failure && (
        <div className="grid gap-1 text-sm">
          <p className="text-bad">{one.failure}. Its machine is ended.</p>
          {one.log.length > 0 && (
            <pre tabIndex={0} aria-label="The server's last lines" className="max-h-40 overflow-auto rounded-md bg-muted p-2 text-xs">
              {one.log.join("\n")}
            </pre>
          )}
        </div>
      )}
      {open && one.state !== "failed" && <Playground deployment={one} givenKey={newKey} />}
    </li>
  );
}

export function ModelsPage() {
  useTitle("Models");
  const { data, error, isLoading, refetch } = useListModelsQuery(undefined, { pollingInterval: PACE.rest, skipPollingIfUnfocused: true });
  const [deploy, deploying] = useDeployModelMutation();
  const [seen, setSeen] = useState<NewDeploymentView | null>(null);
  const [made, setMade] = useState<NewDeploymentView | null>(null);
  const [form, setForm] = useState({ model: "", runtime: "vllm", quantization: "", context: 8192, sleep: 15 });
  const set = (change: Partial<typeof form>) => {
    setSeen(null);
    setForm((old) => ({ ...old, ...change }));
  };
  const runtimes = data?.data.runtimes ?? [];
  const runtime = runtimes.find((one) => one.name === form.runtime);
  const body = {
    model: form.model,
    runtime: form.runtime,
    quantization: (form.quantization || null) as "fp16" | null,
    context: form.context,
    idle_after_s: form.sleep * 60,
  };
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (!seen) {
      const answer = await deploy({ deployBody: { ...body, preview: true } });
      if (answer.data) setSeen(answer.data.data);
      return;
    }
    const answer = await deploy({ deployBody: body, "Idempotency-Key": crypto.randomUUID() });
    if (answer.data) {
      setMade(answer.data.data);
      setSeen(null);
    }
  };
  if (isLoading) return <Loading />;
  if (error && !data) return <ErrorPanel error={error} retry={refetch} />;
  const deployments = data?.data.deployments ?? [];
  return (
    <div className="grid gap-4">
      <h1 className="text-xl font-semibold">Models</h1>
      <Card>
        <CardTitle>Deploy a model</CardTitle>
        <form onSubmit={submit} className="grid gap-3" aria-label="Deploy a model">
          <div className="grid gap-3 sm:grid-cols-2 lg:grid-cols-5">
            <Field label="Model" hint="As its hub names it.">
              <Input required placeholder="Qwen/Qwen2.5-7B-Instruct" value={form.model} onChange={(e) => set({ model: e.target.value.trim() })} />
            </Field>
            <Field label="Runtime">
              <Select value={form.runtime} onChange={(e) => set({ runtime: e.target.value, quantization: "" })}>
                {runtimes.map((one) => (
                  <option key={one.name}>{one.name}</option>
                ))}
              </Select>
            </Field>
            <Field label="Quantization">
              <Select value={form.quantization} onChange={(e) => set({ quantization: e.target.value })}>
                <option value="">as the runtime likes</option>
                {(runtime?.quantizations ?? []).map((name) => (
                  <option key={name}>{name}</option>
                ))}
              </Select>
            </Field>
            <Field label="Context, tokens">
              <Input type="number" min={256} max={1_000_000} value={form.context} onChange={(e) => set({ context: Number(e.target.value) || 8192 })} />
            </Field>
            <Field label="Sleep after idle minutes" hint="0: never.">
              <Input type="number" min={0} max={10_080} value={form.sleep} onChange={(e) => set({ sleep: Math.max(0, Number(e.target.value) || 0) })} />
            </Field>
          </div>
          {deploying.error && <ErrorPanel error={deploying.error} />}
          {seen && (
            <p role="status" className="text-sm">
              {seen.fit?.why}.
            </p>
          )}
          <Button type="submit" variant={seen ? "default" : "outline"} className="justify-self-start" disabled={deploying.isLoading}>
            {seen ? "Deploy it" : "What does it need?"}
          </Button>
        </form>
      </Card>
      {made?.key && (
        <div role="status" className="grid gap-2 rounded-md border border-good/40 bg-good/5 p-3 text-sm">
          <p>{made.name}’s key, shown once:</p>
          <Snippet label="model key" text={made.key} />
        </div>
      )}
      {deployments.length === 0 ? (
        <Empty title="No models yet">
          <p>A deployment is an OpenAI-compatible endpoint that sleeps when nobody asks and wakes on the next request.</p>
          <Snippet label="command" text="dumont models deploy Qwen/Qwen2.5-7B-Instruct" />
        </Empty>
      ) : (
        <ul className="grid gap-3">
          {deployments.map((one) => (
            <Deployment key={one.id} given={one} newKey={made?.id === one.id ? made.key : null} onMoved={refetch} />
          ))}
        </ul>
      )}
    </div>
  );
}
