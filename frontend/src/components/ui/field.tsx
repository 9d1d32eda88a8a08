import * as React from "react";
import { cn } from "@/lib/cn";

export const Input = React.forwardRef<HTMLInputElement, React.ComponentProps<"input">>(({ className, ...rest }, ref) => (
  <input
    ref={ref}
    className={cn("h-9 w-full rounded-md border bg-card px-3 text-sm placeholder:text-muted-foreground", className)}
    {...rest}
  />
));
Input.displayName = "Input";

export const Select = React.forwardRef<HTMLSelectElement, React.ComponentProps<"select">>(({ className, ...rest }, ref) => (
  <select ref={ref} className={cn("h-9 w-full rounded-md border bg-card px-2 text-sm", className)} {...rest} />
));
Select.displayName = "Select";

export function Field({ label, hint, children }: { label: string; hint?: string; children: React.ReactNode }) {
  return (
    <label className="grid content-start gap-1 text-sm">
      <span className="font-medium">{label}</span>
      {children}
      {hint && <span className="text-xs text-muted-foreground">{hint}</span>}
    </label>
  );
}

export function Check({ label, ...rest }: React.ComponentProps<"input"> & { label: string }) {
  return (
    <label className="flex min-h-6 items-center gap-2 text-sm">
      <input type="checkbox" className="size-4 shrink-0 accent-primary max-sm:size-6" {...rest} />
      {label}
    </label>
  );
}
