/** How a machine is found, each way with what it means in numbers for what matches now. */
import type { OfferView } from "@/api";
import { ASKED, chanceOf, outlook } from "@/features/deploy/outlook";
import type { Form } from "@/features/deploy/request";
import { cn } from "@/lib/cn";
import { span, usd } from "@/lib/format";

function numbers(name: Form["strategy"], offers: readonly OfferView[], width: number): string | null {
  const seen = outlook(offers, width);
  if (!seen) return null;
  return [
    name === "serverless" ? "about 1 s when one is warm" : seen.readyS === null ? "boot time not known yet" : `about ${span(seen.readyS)}`,
    `${chanceOf(seen)} that one is ready`,
    seen.wastedUsd !== null && seen.asked.length > 1 ? `about ${usd(seen.wastedUsd)} for the others` : null,
  ]
    .filter(Boolean)
    .join(", ");
}

export function Strategy(props: { form: Form; set: (change: Partial<Form>) => void; mine: string | undefined; words: Record<string, string>; offers: readonly OfferView[] }) {
  const { form, set, mine, words, offers } = props;
  return (
    <fieldset className="grid gap-1.5">
      <legend className="mb-1.5 text-sm font-medium">Strategy</legend>
      {(Object.keys(ASKED) as Form["strategy"][]).map((name) => {
        const chosen = form.strategy === name;
        const meaning = numbers(name, offers, name === "race" ? form.width : ASKED[name]);
        return (
          <label key={name} className={cn("flex cursor-pointer items-start gap-3 rounded-md border px-3 py-2 text-sm", chosen ? "border-primary bg-muted/50" : "hover:bg-muted/40")}>
            <input type="radio" name="strategy" className="mt-0.5 size-4 shrink-0 accent-primary max-sm:size-6" checked={chosen} onChange={() => set({ strategy: name })} />
            <span className="grid min-w-0">
              <span className="font-medium">
                {name.replaceAll("_", " ")}
                {name === mine && <span className="ml-2 text-xs font-normal text-muted-foreground">your default</span>}
              </span>
              <span className="text-xs text-muted-foreground">{words[name]}</span>
              {meaning && <span className="text-xs tabular-nums">{meaning}</span>}
            </span>
          </label>
        );
      })}
      {form.strategy === "race" && (
        <label className="grid gap-1 px-1 pt-1 text-sm">
          <span>
            Machines that race: <strong className="tabular-nums">{form.width}</strong>
          </span>
          <input type="range" min={1} max={5} value={form.width} className="h-6 accent-primary" onChange={(e) => set({ width: Number(e.target.value) })} />
        </label>
      )}
    </fieldset>
  );
}
