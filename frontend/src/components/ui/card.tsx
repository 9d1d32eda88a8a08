import * as React from "react";
import { cn } from "@/lib/cn";

export function Card({ className, ...rest }: React.ComponentProps<"section">) {
  return <section className={cn("rounded-lg border bg-card p-3 sm:p-4", className)} {...rest} />;
}

export function CardTitle({ className, ...rest }: React.ComponentProps<"h2">) {
  return <h2 className={cn("mb-3 text-sm font-semibold", className)} {...rest} />;
}
