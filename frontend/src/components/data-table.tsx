/** A table that sorts and becomes cards on a narrow screen. */
import { ArrowDown, ArrowUp } from "lucide-react";
import { useMemo, useState, type ReactNode } from "react";
import { cn } from "@/lib/cn";
import { useNarrow } from "@/lib/use-narrow";

export interface Column<Row> {
  key: string;
  head: string;
  /** What of a row stands here; null leaves the line out of a card. */
  cell: (row: Row) => ReactNode;
  sort?: (row: Row) => number | string;
  right?: boolean;
  /** Where it stands on a card: beside the first column, or alone at the end. Others are a line each. */
  card?: "beside" | "end";
}

interface Shown<Row> {
  label: string;
  rows: readonly Row[];
  columns: readonly Column<Row>[];
  rowKey: (row: Row) => string;
}

function Cards<Row>({ label, rows, columns, rowKey }: Shown<Row>) {
  const [first, ...rest] = columns;
  const beside = rest.filter((one) => one.card === "beside");
  const lines = rest.filter((one) => one.card === undefined);
  const end = rest.filter((one) => one.card === "end");
  return (
    <ul className="grid gap-2" aria-label={label}>
      {rows.map((row) => (
        <li key={rowKey(row)} className="grid gap-1.5 rounded-lg border bg-card p-3 text-sm">
          <div className="flex items-start justify-between gap-3">
            <span className="min-w-0 font-medium break-words">{first?.cell(row)}</span>
            {beside.map((one) => (
              <span key={one.key} className="shrink-0">
                {one.cell(row)}
              </span>
            ))}
          </div>
          {lines.map((one) => {
            const content = one.cell(row);
            return (
              content !== null &&
              content !== "" && (
                <div key={one.key} className="flex justify-between gap-4">
                  <span className="shrink-0 text-xs leading-5 text-muted-foreground">{one.head}</span>
                  <span className={cn("min-w-0 text-right break-words", one.right && "tabular-nums")}>{content}</span>
                </div>
              )
            );
          })}
          {end.map((one) => (
            <div key={one.key} className="flex justify-end pt-1">
              {one.cell(row)}
            </div>
          ))}
        </li>
      ))}
    </ul>
  );
}

export function DataTable<Row>(props: Shown<Row> & { pageSize?: number }) {
  const { label, rows, columns, rowKey, pageSize = 50 } = props;
  const narrow = useNarrow();
  const [order, setOrder] = useState<{ key: string; down: boolean } | null>(null);
  // A card is as tall as four rows.
  const step = narrow ? Math.ceil(pageSize / 4) : pageSize;
  const [steps, setSteps] = useState(1);
  const shown = steps * step;
  const sorted = useMemo(() => {
    const by = order && columns.find((column) => column.key === order.key)?.sort;
    if (!order || !by) return rows;
    const turned = order.down ? -1 : 1;
    return [...rows].sort((a, b) => {
      const x = by(a);
      const y = by(b);
      return (x < y ? -1 : x > y ? 1 : 0) * turned;
    });
  }, [rows, columns, order]);
  const visible = sorted.slice(0, shown);
  return (
    <div>
      {narrow ? (
        <Cards label={label} rows={visible} columns={columns} rowKey={rowKey} />
      ) : (
        <div className="overflow-x-auto rounded-lg border bg-card" tabIndex={0} role="region" aria-label={label}>
          <table className="w-full text-sm">
            <thead>
              <tr className="border-b bg-muted/50 text-left text-xs text-muted-foreground">
                {columns.map((column) => (
                  <th
                    key={column.key}
                    scope="col"
                    aria-sort={order?.key === column.key ? (order.down ? "descending" : "ascending") : undefined}
                    className={cn("px-3 py-1.5 font-medium whitespace-nowrap", column.right && "text-right")}
                  >
                    {column.sort ? (
                      <button
                        type="button"
                        className="inline-flex min-h-6 items-center gap-1 hover:text-foreground"
                        onClick={() => setOrder({ key: column.key, down: order?.key === column.key ? !order.down : false })}
                      >
                        {column.head}
                        {order?.key === column.key && (order.down ? <ArrowDown className="size-3" /> : <ArrowUp className="size-3" />)}
                      </button>
                    ) : column.card === "end" ? (
                      <span className="sr-only">{column.head}</span>
                    ) : (
                      column.head
                    )}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {visible.map((row) => (
                <tr key={rowKey(row)} className="border-b last:border-0 hover:bg-muted/40">
                  {columns.map((column) => (
                    <td key={column.key} className={cn("px-3 py-2 align-middle", (column.right || column.card === "end") && "text-right whitespace-nowrap tabular-nums")}>
                      {column.cell(row)}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {sorted.length > shown && (
        <button type="button" className="mt-3 min-h-6 text-sm underline" onClick={() => setSteps(steps + 1)}>
          Show more ({sorted.length - shown})
        </button>
      )}
    </div>
  );
}
