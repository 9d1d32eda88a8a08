import { useEffect } from "react";
import { useLocation } from "react-router";

/** Goes to the part of the page that the address names. */
export function useHash(): void {
  const { hash } = useLocation();
  useEffect(() => {
    if (hash) document.getElementById(hash.slice(1))?.scrollIntoView();
  }, [hash]);
}
