import { Bot, Cpu, Ellipsis, History, LineChart, LogOut, Moon, Plus, Receipt, Search, Server, Settings, ShieldCheck, Sun } from "lucide-react";
import { lazy, useEffect, useRef, useState } from "react";
import { Link, NavLink, Outlet, useLocation } from "react-router";
import { useListInstancesQuery, useLogoutMutation, useShowUsageQuery } from "@/api";
import { isPassing } from "@/api/can";
import { PACE, useAppDispatch, useAsking, useSession } from "@/api/hooks";
import { changes } from "@/app/changes";
import { ended } from "@/api/session";
import { Part } from "@/components/part";
import { Freshness } from "@/components/states";
import { Button } from "@/components/ui/button";
import { cn } from "@/lib/cn";
import { usd, usdPerHour } from "@/lib/format";
import { paths } from "@/lib/paths";
import { savedOf } from "@/lib/saved";

const loadPalette = async () => ({ default: (await import("@/app/palette")).Palette });
const Palette = lazy(loadPalette);

const Notifications = lazy(async () => ({ default: (await import("@/app/notifications")).Notifications }));

const NAV = [
  { to: paths.instances, label: "Instances", icon: Server },
  { to: paths.deploy, label: "Deploy", icon: Plus },
  { to: paths.market, label: "Market", icon: LineChart },
  { to: paths.machines, label: "Machines", icon: Cpu },
  { to: paths.models, label: "Models", icon: Bot },
  { to: paths.snapshots, label: "Snapshots", icon: History },
  { to: paths.standby, label: "Standby", icon: ShieldCheck },
  { to: paths.usage, label: "Usage", icon: Receipt },
  { to: paths.settings, label: "Settings", icon: Settings },
];

/** How many of the pages have room at the bottom of a phone; the others are behind "More". */
const NEAR = 4;

function Navigation() {
  const [more, setMore] = useState(false);
  const { pathname } = useLocation();
  useEffect(() => setMore(false), [pathname]);
  const far = NAV.slice(NEAR).some(({ to }) => pathname.startsWith(to));
  const cell = "flex flex-col items-center gap-0.5 px-1 py-2 text-[11px] md:flex-row md:gap-3 md:rounded-md md:px-2.5 md:py-1.5 md:text-sm";
  return (
    <nav
      aria-label="Main"
      className="fixed inset-x-0 bottom-0 z-30 grid grid-cols-5 border-t bg-card md:sticky md:top-0 md:flex md:h-dvh md:flex-col md:gap-0.5 md:border-t-0 md:border-r md:p-3"
    >
      <Link to={paths.instances} className="mb-3 hidden items-center gap-2 px-2 text-sm font-semibold whitespace-nowrap md:flex">
        <img src="/icon.svg" alt="" width="24" height="24" /> Dumont Cloud
      </Link>
      {NAV.map(({ to, label, icon: Icon }, place) => (
        <NavLink
          key={to}
          to={to}
          end={to === "/"}
          className={({ isActive }) =>
            cn(
              cell,
              place >= NEAR && !more && "max-md:hidden",
              isActive ? "font-semibold text-primary md:bg-muted" : "text-muted-foreground hover:text-foreground",
            )
          }
        >
          <Icon aria-hidden className="size-5 md:size-4" /> {label}
        </NavLink>
      ))}
      <button
        type="button"
        aria-expanded={more}
        onClick={() => setMore(!more)}
        className={cn(cell, "col-start-5 row-start-1 md:hidden", far ? "font-semibold text-primary" : "text-muted-foreground")}
      >
        <Ellipsis aria-hidden className="size-5" /> More
      </button>
    </nav>
  );
}

function ThemeToggle() {
  const [dark, setDark] = useState(() => document.documentElement.classList.contains("dark"));
  return (
    <Button
      variant="ghost"
      size="icon"
      aria-label={dark ? "Light theme" : "Dark theme"}
      onClick={() => {
        document.documentElement.classList.toggle("dark", !dark);
        try {
          localStorage.setItem("dumont-theme", dark ? "light" : "dark");
        } catch {
          // Without storage the choice lasts as long as the tab.
        }
        setDark(!dark);
      }}
    >
      {dark ? <Sun /> : <Moon />}
    </Button>
  );
}

export function Shell() {
  const [palette, setPalette] = useState(false);
  const { refreshToken } = useSession();
  const dispatch = useAppDispatch();
  const [logout] = useLogoutMutation();
  const location = useLocation();
  const [polling, setPolling] = useState<number>(PACE.rest);
  const { data, fulfilledTimeStamp, isError } = useListInstancesQuery(
    { limit: 200 },
    { pollingInterval: polling, skipPollingIfUnfocused: true },
  );
  const instances = data?.data.instances ?? [];
  const asking = useAsking();
  const moving = asking || instances.some((one) => isPassing(one) || one.restoring);
  // Fast only while something is in motion and there is an answer.
  // An instance's own page looks at that one as fast as need be.
  const motion = location.pathname.startsWith(paths.instance("")) ? PACE.beside : PACE.motion;
  useEffect(() => setPolling(!moving ? PACE.rest : isError ? PACE.failing : motion), [moving, isError, motion]);
  const usage = useShowUsageQuery({}).data?.data;
  const saved = usage ? savedOf(usage) : 0;
  const burning = instances.reduce((sum, one) => sum + (one.machine ? Number(one.machine.usd_per_hour) : 0), 0);

  const before = useRef(new Map<string, string>());
  useEffect(() => {
    if (!data) return;
    const found = changes(before.current, data.data.instances);
    before.current = new Map(data.data.instances.map((one) => [one.id, one.state]));
    if (found.length === 0) return;
    void import("sonner").then(({ toast }) => {
      for (const one of found) (one.bad ? toast.error : toast)(one.words, { id: `state-${one.id}`, description: one.why ?? undefined });
    });
  }, [data]);

  useEffect(() => {
    const listen = (event: KeyboardEvent) => {
      // Whoever holds Ctrl may press K next, and types at once.
      if (event.key === "Control" || event.key === "Meta") void loadPalette().catch(() => undefined);
      if ((event.metaKey || event.ctrlKey) && event.key.toLowerCase() === "k") {
        event.preventDefault();
        setPalette((open) => !open);
      }
    };
    addEventListener("keydown", listen);
    return () => removeEventListener("keydown", listen);
  }, []);
  useEffect(() => document.getElementById("main")?.focus({ preventScroll: true }), [location.pathname]);

  return (
    <div className="min-h-dvh md:grid md:grid-cols-[12rem_1fr]">
      <a href="#main" className="sr-only focus:not-sr-only focus:absolute focus:z-50 focus:m-2 focus:rounded-md focus:bg-card focus:p-2">
        Skip to content
      </a>
      <Navigation />
      <div className="min-w-0 pb-20 md:pb-0">
        <header className="sticky top-0 z-20 flex flex-wrap items-center justify-between gap-2 border-b bg-background/90 px-4 py-1.5 backdrop-blur lg:px-6">
          <div className="flex items-center gap-4">
            <span className="text-sm">
              <span className="text-muted-foreground">Burning </span>
              <strong className="tabular-nums">{data ? usdPerHour(burning) : "–"}</strong>
            </span>
            {saved > 0 && (
              <span className="hidden text-sm lg:inline">
                <span className="text-muted-foreground">Saved this month </span>
                <strong className="text-good tabular-nums">{usd(saved)}</strong>
              </span>
            )}
            {usage?.budget.warned && (
              <Link to={paths.usage} className={cn("text-sm underline", usage.budget.reached ? "text-bad" : "text-warn")}>
                Budget {usage.budget.reached ? "used up" : "nearly used up"}
              </Link>
            )}
            <span className="hidden sm:inline">
              <Freshness at={fulfilledTimeStamp} failed={isError} />
            </span>
          </div>
          <div className="flex items-center gap-1">
            <Button variant="outline" size="sm" onClick={() => setPalette(true)} aria-label="Search and commands">
              <Search /> <kbd className="hidden font-sans text-xs text-muted-foreground sm:inline">Ctrl K</kbd>
            </Button>
            {data && (
              <Part waiting={null} broken={null}>
                <Notifications instances={instances} />
              </Part>
            )}
            <ThemeToggle />
            <Button
              variant="ghost"
              size="icon"
              aria-label="Log out"
              onClick={() => {
                if (refreshToken) void logout({ refreshRequest: { refresh_token: refreshToken } });
                dispatch(ended(null));
              }}
            >
              <LogOut />
            </Button>
          </div>
        </header>
        <main id="main" tabIndex={-1} className="mx-auto max-w-7xl p-4 outline-none lg:px-6">
          <Outlet />
        </main>
      </div>
      {palette && (
        <Part waiting={null}>
          <Palette open onOpenChange={setPalette} instances={instances} />
        </Part>
      )}
    </div>
  );
}
