/** Rows as comma-separated values; what begins like a formula is quoted so that no spreadsheet runs it. */
export function csvOf(rows: readonly Record<string, unknown>[]): string {
  if (rows.length === 0) return "";
  const names = Object.keys(rows[0]!);
  const cell = (value: unknown): string => {
    const text = value === null || value === undefined ? "" : String(value);
    const safe = /^[=+@\t]/.test(text) ? `'${text}` : text;
    return /[",\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return [names.join(","), ...rows.map((row) => names.map((name) => cell(row[name])).join(","))].join("\n") + "\n";
}
