import { lazy, Suspense, type ComponentType } from "react";
import { createBrowserRouter, Link, Navigate, useRouteError } from "react-router";
import { useSession } from "@/api/hooks";
import { Broken } from "@/components/broken";
import { paths, type PageName } from "@/lib/paths";

// Only what every visit needs comes with the first file: the frame follows while the session is renewed.
export const loadShell = async () => ({ default: (await import("@/app/shell")).Shell });
const Shell = lazy(loadShell);

/** As index.html has it, until this is here. */
const Wait = () => (
  <p role="status" className="p-8 text-sm">
    Loading…
  </p>
);

function Guarded() {
  const { refreshToken } = useSession();
  return refreshToken ? (
    <Suspense fallback={<Wait />}>
      <Shell />
    </Suspense>
  ) : (
    <Navigate to={`${paths.login}?to=${encodeURIComponent(location.pathname + location.search)}`} replace />
  );
}

function Wrong() {
  const error = useRouteError() as { status?: number };
  return (
    <div className="mx-auto grid w-full max-w-md gap-3 p-8">
      {error.status === 404 ? (
        <>
          <h1 className="text-lg font-semibold">There is no such page</h1>
          <p className="text-sm text-muted-foreground">The address may be old.</p>
        </>
      ) : (
        <Broken error={error} heading="h1" />
      )}
      <Link className="text-sm underline" to={paths.instances}>
        Back to your instances
      </Link>
    </div>
  );
}

/** Outside the frame, where nothing else is the page's main part. */
const WrongPage = () => (
  <main>
    <Wrong />
  </main>
);

/** The page at each address: an address without one does not compile. */
const PAGES: Record<PageName, () => Promise<ComponentType>> = {
  instances: async () => (await import("@/features/instances/instances-page")).InstancesPage,
  instance: async () => (await import("@/features/instances/instance-page")).InstancePage,
  deploy: async () => (await import("@/features/deploy/deploy-page")).DeployPage,
  market: async () => (await import("@/features/market/market-page")).MarketPage,
  machines: async () => (await import("@/features/machines/machines-page")).MachinesPage,
  models: async () => (await import("@/features/models/models-page")).ModelsPage,
  snapshots: async () => (await import("@/features/instances/snapshots-page")).SnapshotsPage,
  standby: async () => (await import("@/features/instances/standby-page")).StandbyPage,
  usage: async () => (await import("@/features/usage/usage-page")).UsagePage,
  settings: async () => (await import("@/features/settings/settings-page")).SettingsPage,
};

const pathOf = (name: PageName): string => {
  const path = paths[name];
  return typeof path === "string" ? path : path(":id");
};

export const router = createBrowserRouter([
  {
    path: paths.login,
    lazy: async () => ({ Component: (await import("@/features/auth/login-page")).LoginPage }),
    errorElement: <WrongPage />,
    hydrateFallbackElement: <Wait />,
  },
  {
    path: "/",
    element: <Guarded />,
    errorElement: <WrongPage />,
    hydrateFallbackElement: <Wait />,
    children: [
      {
        // A page that breaks leaves the frame, and with it the way to the others.
        errorElement: <Wrong />,
        children: (Object.keys(PAGES) as PageName[]).map((name) => ({
          path: pathOf(name),
          lazy: async () => ({ Component: await PAGES[name]() }),
        })),
      },
    ],
  },
]);
