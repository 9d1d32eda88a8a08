import { useSyncExternalStore } from "react";

const query = typeof matchMedia === "function" ? matchMedia("(max-width: 639px)") : null;

function watch(changed: () => void): () => void {
  query?.addEventListener("change", changed);
  return () => query?.removeEventListener("change", changed);
}

/** Whether the screen is a phone's: what differs too much for styles is drawn once, for the screen there is. */
export const useNarrow = (): boolean => useSyncExternalStore(watch, () => query?.matches ?? false);
