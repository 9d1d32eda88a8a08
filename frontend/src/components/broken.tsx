/** What is left when something breaks. It comes with the first file, so it is made of nothing that does not. */
import { Component, type ReactNode } from "react";

/** A file that does not come: offline, or gone since the console was updated. Browsers word it differently. */
const isMissingFile = (error: unknown): boolean => /dynamically imported module|module script|preload CSS/i.test(String(error));

/** What broke, in words; a reload brings the newest files. */
export function Broken({ error, heading: Heading = "p" }: { error: unknown; heading?: "h1" | "p" }) {
  const missing = isMissingFile(error);
  return (
    <div role="alert" className="grid gap-2 rounded-lg border border-bad/40 bg-bad/5 p-4 text-sm">
      <Heading className="font-semibold text-bad">{missing ? "This part could not be loaded" : "This part broke"}</Heading>
      <p>
        {missing
          ? "You may be offline, or the console was updated since you opened it."
          : `The console met an answer it did not expect: ${error instanceof Error ? error.message : String(error)}`}
      </p>
      <button type="button" className="h-8 justify-self-start rounded-md border bg-card px-3 font-medium hover:bg-muted" onClick={() => location.reload()}>
        Reload
      </button>
    </div>
  );
}

/** Keeps what breaks inside from taking the rest along. */
export class Boundary extends Component<{ children: ReactNode; broken?: ReactNode }, { error: unknown }> {
  state = { error: null as unknown };

  static getDerivedStateFromError(error: unknown) {
    return { error };
  }

  render() {
    if (this.state.error === null) return this.props.children;
    return this.props.broken === undefined ? <Broken error={this.state.error} /> : this.props.broken;
  }
}
