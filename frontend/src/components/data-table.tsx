/** A table that sorts and becomes cards on a narrow screen. */
import { ArrowDown, ArrowUp } from "lucide-react";
import { useMemo, useState, type ReactNode } from "react";
import { cn } from "@/lib/cn";

export interface Column<Row> {
  key: string;
  head: string;
  cell: (row: Row) => ReactNode;
  sort?: (row: Row) => number | string;
  right?: boolean;
}

export function DataTable<Row>(props: {
  label: string;
  rows: readonly Row[];
  columns: readonly Column<Row>[];
  rowKey: (row: Row) => string;
  pageSize?: number;
}) {
  const { rows, columns, pageSize = 50 } = props;
  const [order, setOrder] = useState<{ key: string; down: boolean } | null>(null);
  const [shown, setShown] = useState(pageSize);
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
  return (
    <div>
      <div className="hidden overflow-x-auto rounded-lg border bg-card sm:block" tabIndex={0} role="region" aria-label={props.label}>
        <table className="w-full text-sm">
          <thead>
            <tr className="border-b text-left text-xs text-muted-foreground">
              {columns.map((column) => (
                <th
                  key={column.key}
                  scope="col"
                  aria-sort={order?.key === column.key ? (order.down ? "descending" : "ascending") : undefined}
                  className={cn("px-3 py-2 font-medium", column.right && "text-right")}
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
                  ) : (
                    column.head
                  )}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {sorted.slice(0, shown).map((row) => (
              <tr key={props.rowKey(row)} className="border-b last:border-0 hover:bg-muted/50">
                {columns.map((column) => (
                  <td key={column.key} className={cn("px-3 py-2 align-middle", column.right && "text-right whitespace-nowrap tabular-nums")}>
                    {column.cell(row)}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <ul className="grid gap-3 sm:hidden" aria-label={props.label}>
        {sorted.slice(0, shown).map((row) => (
          <li key={props.rowKey(row)} className="grid gap-1 rounded-lg border bg-card p-3 text-sm">
            {columns.map((column) => (
              <div key={column.key} className="flex justify-between gap-3">
                <span className="text-muted-foreground">{column.head}</span>
                <span className="min-w-0 text-right break-words">{column.cell(row)}</span>
              </div>
            ))}
          </li>
        ))}
      </ul>
      {sorted.length > shown && (
        <button type="button" className="mt-3 min-h-6 text-sm underline" onClick={() => setShown(shown + pageSize)}>
          Show more ({sorted.length - shown})
        </button>
      )}
    </div>
  );
}
