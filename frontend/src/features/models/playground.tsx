/** A chat with a deployment, as its own clients would have it. */
import { useEffect, useRef, useState, type FormEvent } from "react";
import type { DeploymentView } from "@/api";
import { Snippet } from "@/components/copy";
import { Button } from "@/components/ui/button";
import { Field, Input } from "@/components/ui/field";
import { chat, PARAMETERS, type Figures, type Message, type Parameters } from "@/features/models/stream";
import { cn } from "@/lib/cn";
import { span } from "@/lib/format";

const NAMES: Record<Message["role"], string> = { user: "You", assistant: "Model", system: "System" };

function Told({ figures, usdPerHour }: { figures: Figures; usdPerHour: string | null }) {
  const { firstS, perSecond } = figures;
  if (firstS === null) return null;
  const perMillion = perSecond !== null && usdPerHour !== null ? (Number(usdPerHour) / 3600 / perSecond) * 1e6 : null;
  return (
    <p className="text-xs text-muted-foreground tabular-nums">
      First token after {span(firstS)}
      {perSecond !== null && `, ${perSecond.toFixed(0)} tokens a second`}
      {perMillion !== null && `, $${perMillion.toFixed(2)} per million tokens at this speed, alone`}
    </p>
  );
}

function Code({ deployment, parameters }: { deployment: DeploymentView; parameters: Parameters }) {
  const { endpoint, model } = deployment;
  const { system, temperature, maxTokens } = parameters;
  const messages = [...(system ? [{ role: "system", content: system }] : []), { role: "user", content: "Hello" }];
  const body = JSON.stringify({ model, messages, temperature, max_tokens: maxTokens });
  return (
    <details className="text-sm">
      <summary className="font-medium">From your own code</summary>
      <div className="mt-2 grid gap-2">
        <Snippet
          label="Python"
          text={`from openai import OpenAI\n\nai = OpenAI(base_url="${endpoint}", api_key="dm-…")\nanswer = ai.chat.completions.create(model="${model}", temperature=${temperature}, max_tokens=${maxTokens},\n    messages=${JSON.stringify(messages)})\nprint(answer.choices[0].message.content)`}
        />
        <Snippet label="curl" text={`curl ${endpoint}/chat/completions \\\n  -H "Authorization: Bearer $KEY" -H "Content-Type: application/json" \\\n  -d '${body.replaceAll("'", `'\\''`)}'`} />
      </div>
    </details>
  );
}

export function Playground({ deployment, givenKey }: { deployment: DeploymentView; givenKey: string | null }) {
  const [key, setKey] = useState(givenKey ?? "");
  const [text, setText] = useState("");
  const [parameters, setParameters] = useState(PARAMETERS);
  const [messages, setMessages] = useState<Message[]>([]);
  const [figures, setFigures] = useState<Figures | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const abort = useRef<AbortController | null>(null);
  const log = useRef<HTMLDivElement>(null);
  useEffect(() => () => abort.current?.abort(), []);
  useEffect(() => {
    log.current?.scrollTo?.({ top: log.current.scrollHeight });
  }, [messages]);
  const set = (change: Partial<Parameters>) => setParameters((old) => ({ ...old, ...change }));
  const ask = async (asked: Message[]) => {
    setMessages([...asked, { role: "assistant", content: "" }]);
    setProblem(null);
    setFigures(null);
    setBusy(true);
    const mine = new AbortController();
    abort.current = mine;
    try {
      const told = await chat(deployment.endpoint, key, deployment.model, asked, parameters, mine.signal, (piece) =>
        setMessages((all) => [...all.slice(0, -1), { role: "assistant", content: (all.at(-1)?.content ?? "") + piece }]),
      );
      setFigures(told);
    } catch (error) {
      if (!mine.signal.aborted) setProblem((error as Error).message);
    } finally {
      setBusy(false);
    }
  };
  const send = (event: FormEvent) => {
    event.preventDefault();
    if (!text.trim() || busy) return;
    setText("");
    void ask([...messages, { role: "user", content: text }]);
  };
  const noKey = key ? null : "Enter the deployment's key first.";
  return (
    <div className="grid gap-4 border-t pt-4 lg:grid-cols-[minmax(0,1fr)_16rem]">
      <div className="grid content-start gap-3">
        <div ref={log} role="log" aria-label="Conversation" tabIndex={0} className="grid h-72 content-start gap-3 overflow-auto rounded-md border bg-muted/50 p-3 text-sm">
          {messages.length === 0 && <span className="self-center justify-self-center text-muted-foreground">Ask something. A sleeping model wakes for it.</span>}
          {messages.map((one, index) => (
            <div key={index} className={cn("grid max-w-[85%] gap-0.5 rounded-md border px-3 py-2", one.role === "user" ? "justify-self-end bg-card" : "justify-self-start border-primary/30 bg-card")}>
              <span className="text-xs text-muted-foreground">{NAMES[one.role]}</span>
              <p className="break-words whitespace-pre-wrap">
                {one.content}
                {busy && index === messages.length - 1 && <span className="animate-pulse"> …</span>}
              </p>
            </div>
          ))}
        </div>
        {problem && (
          <p role="alert" className="text-sm text-bad">
            {problem}
          </p>
        )}
        {figures && <Told figures={figures} usdPerHour={deployment.usd_per_hour} />}
        <form onSubmit={send} className="flex gap-2">
          <Input aria-label="Message" placeholder="Message" value={text} onChange={(e) => setText(e.target.value)} />
          {busy ? (
            <Button variant="outline" onClick={() => abort.current?.abort()}>
              Stop
            </Button>
          ) : (
            <Button type="submit" disabledReason={noKey}>
              Send
            </Button>
          )}
        </form>
        {messages.length > 0 && !busy && (
          <div className="flex gap-2">
            <Button size="xs" variant="outline" disabledReason={noKey} onClick={() => void ask(messages.slice(0, messages.map((one) => one.role).lastIndexOf("user") + 1))}>
              Try again
            </Button>
            <Button
              size="xs"
              variant="outline"
              onClick={() => {
                setMessages([]);
                setFigures(null);
                setProblem(null);
              }}
            >
              New conversation
            </Button>
          </div>
        )}
      </div>
      <div className="grid content-start gap-3">
        <Field label="The deployment's key" hint="Kept in this page only.">
          <Input type="password" autoComplete="off" placeholder="dm-…" value={key} onChange={(e) => setKey(e.target.value)} />
        </Field>
        <label className="grid gap-1 text-sm">
          <span className="font-medium">System prompt</span>
          <textarea className="min-h-20 rounded-md border bg-card p-2 text-sm placeholder:text-muted-foreground" placeholder="You are a helpful assistant." value={parameters.system} onChange={(e) => set({ system: e.target.value })} />
        </label>
        <label className="grid gap-1 text-sm">
          <span className="flex justify-between">
            <span className="font-medium">Temperature</span>
            <span className="tabular-nums">{parameters.temperature.toFixed(1)}</span>
          </span>
          <input type="range" min={0} max={2} step={0.1} value={parameters.temperature} className="h-6 accent-primary" onChange={(e) => set({ temperature: Number(e.target.value) })} />
        </label>
        <Field label="Tokens at most">
          <Input type="number" min={1} max={32_768} value={parameters.maxTokens} onChange={(e) => set({ maxTokens: Math.max(1, Number(e.target.value) || 1) })} />
        </Field>
        <Code deployment={deployment} parameters={parameters} />
      </div>
    </div>
  );
}
