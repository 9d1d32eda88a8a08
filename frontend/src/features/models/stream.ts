/** A chat answer as it comes: OpenAI's server-sent events. */
export interface Message {
  role: "user" | "assistant" | "system";
  content: string;
}

export interface Figures {
  firstS: number | null;
  perSecond: number | null;
}

export interface Parameters {
  system: string;
  temperature: number;
  maxTokens: number;
}

export const PARAMETERS: Parameters = { system: "", temperature: 0.7, maxTokens: 512 };

/** The text pieces of complete events in `buffer`, and what is left of it. */
export function piecesOf(buffer: string): { pieces: string[]; rest: string; error: string | null } {
  const events = buffer.split("\n\n");
  const rest = events.pop() ?? "";
  const pieces: string[] = [];
  let error: string | null = null;
  for (const event of events) {
    const data = event.split("\n").find((line) => line.startsWith("data:"))?.slice(5).trim();
    if (!data || data === "[DONE]") continue;
    const body = JSON.parse(data) as { choices?: { delta?: { content?: string } }[]; error?: { message?: string } };
    if (body.error) error = body.error.message ?? "The model broke off.";
    const text = body.choices?.[0]?.delta?.content;
    if (text) pieces.push(text);
  }
  return { pieces, rest, error };
}

export async function chat(
  endpoint: string,
  key: string,
  model: string,
  messages: readonly Message[],
  { system, temperature, maxTokens }: Parameters,
  signal: AbortSignal,
  onText: (text: string) => void,
): Promise<Figures> {
  const started = performance.now();
  // The endpoint's own host may differ from where this page came from: only its path counts here.
  const path = new URL(endpoint).pathname;
  const answer = await fetch(`${location.origin}${path}/chat/completions`, {
    method: "POST",
    signal,
    headers: { "Content-Type": "application/json", Authorization: `Bearer ${key}` },
    body: JSON.stringify({
      model,
      messages: [...(system ? [{ role: "system", content: system }] : []), ...messages],
      temperature,
      max_tokens: maxTokens,
      stream: true,
    }),
  });
  if (!answer.ok || !answer.body) {
    const body = (await answer.json().catch(() => null)) as { error?: { message?: string } } | null;
    throw new Error(body?.error?.message ?? `The endpoint answered ${answer.status}.`);
  }
  if (answer.headers.get("Content-Type")?.startsWith("application/json")) {
    // A server that does not stream answers in one piece.
    const body = (await answer.json()) as { choices?: { message?: { content?: string } }[] };
    onText(body.choices?.[0]?.message?.content ?? "");
    return { firstS: (performance.now() - started) / 1000, perSecond: null };
  }
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  let count = 0;
  let firstAt: number | null = null;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const found = piecesOf(buffer + value);
    buffer = found.rest;
    for (const piece of found.pieces) {
      firstAt ??= performance.now();
      count += 1;
      onText(piece);
    }
    if (found.error) throw new Error(found.error);
  }
  const spent = firstAt === null ? 0 : (performance.now() - firstAt) / 1000;
  return { firstS: firstAt === null ? null : (firstAt - started) / 1000, perSecond: count > 1 && spent > 0 ? (count - 1) / spent : null };
}
