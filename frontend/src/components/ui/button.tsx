import { cva, type VariantProps } from "class-variance-authority";
import { Slot } from "radix-ui";
import * as React from "react";
import { cn } from "@/lib/cn";

const variants = cva(
  "inline-flex items-center justify-center gap-2 rounded-md text-sm font-medium whitespace-nowrap transition-colors disabled:cursor-not-allowed aria-disabled:cursor-not-allowed disabled:opacity-60 aria-disabled:opacity-60 [&_svg]:size-4",
  {
    variants: {
      variant: {
        default: "bg-primary text-primary-foreground hover:bg-primary/90",
        outline: "border bg-card hover:bg-muted",
        ghost: "hover:bg-muted",
        link: "text-primary underline-offset-4 hover:bg-muted hover:underline",
        danger: "border border-bad/50 text-bad hover:bg-bad/10",
      },
      size: { default: "h-9 px-4", sm: "h-8 px-3", xs: "h-7 px-2 text-xs", icon: "size-9" },
    },
    defaultVariants: { variant: "default", size: "default" },
  },
);

export interface ButtonProps extends React.ComponentProps<"button">, VariantProps<typeof variants> {
  asChild?: boolean;
  /** Why it cannot be pressed now; it stays reachable, so that the reason can be read. */
  disabledReason?: string | null;
}

export const Button = React.forwardRef<HTMLButtonElement, ButtonProps>(
  ({ className, variant, size, asChild, disabledReason, onClick, ...rest }, ref) => {
    const Component = asChild ? Slot.Root : "button";
    return (
      <Component
        ref={ref}
        type={asChild ? undefined : "button"}
        {...rest}
        title={disabledReason ?? rest.title}
        aria-disabled={disabledReason ? true : undefined}
        onClick={disabledReason ? (event: React.MouseEvent) => event.preventDefault() : onClick}
        className={cn(variants({ variant, size }), className)}
      />
    );
  },
);
Button.displayName = "Button";
