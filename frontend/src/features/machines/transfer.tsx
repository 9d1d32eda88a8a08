/** An administrator takes the history along, or brings in another deployment's. */
import { useRef } from "react";
import { useImportHistoryMutation, useLazyExportHistoryQuery } from "@/features/machines/history-api";
import { tell } from "@/components/tell";
import { Button } from "@/components/ui/button";
import { download } from "@/lib/download";

const BATCH = 200;

export function Transfer() {
  const [page] = useLazyExportHistoryQuery();
  const [bring] = useImportHistoryMutation();
  const file = useRef<HTMLInputElement>(null);
  const take = async () => {
    const lines: string[] = [];
    let cursor: string | null | undefined;
    do {
      const { data } = await page({ limit: BATCH, cursor }).unwrap();
      lines.push(...data.lines);
      cursor = data.next_cursor;
    } while (cursor);
    download("dumont-machines.jsonl", lines.map((line) => `${line}\n`).join(""), "application/jsonl");
  };
  const give = async (given: File) => {
    const lines = (await given.text()).split("\n").filter((line) => line.trim());
    for (let at = 0; at < lines.length; at += BATCH) await bring({ importBody: { lines: lines.slice(at, at + BATCH) } }).unwrap();
  };
  return (
    <span className="flex gap-2">
      <Button size="sm" variant="outline" onClick={() => void tell("The history is downloaded", take())}>
        Export
      </Button>
      <input
        ref={file}
        type="file"
        accept=".jsonl"
        className="sr-only"
        tabIndex={-1}
        aria-label="History to import"
        onChange={(event) => {
          const given = event.target.files?.[0];
          event.target.value = "";
          if (given) void tell("It is taken over", give(given));
        }}
      />
      <Button size="sm" variant="outline" onClick={() => file.current?.click()}>
        Import
      </Button>
    </span>
  );
}
