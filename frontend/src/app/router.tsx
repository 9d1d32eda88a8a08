import { lazy, Suspense } from "react";
import { createBrowserRouter, Link, Navigate, useRouteError } from "react-router";
import { useSession } from "@/api/hooks";
import { paths } from "@/lib/paths";

// Only what every visit needs comes with the first file: the frame follows while the session is renewed.
const Shell = lazy(async () => ({ default: (await import("@/app/shell")).Shell }));

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
    <Navigate to={`${paths.login}?to=${encodeURIComponent(location.pathname)}`} replace />
  );
}

function Broken() {
  const error = useRouteError() as { status?: number; message?: string };
  return (
    <main className="mx-auto grid max-w-md gap-3 p-8">
      <h1 className="text-lg font-semibold">{error.status === 404 ? "There is no such page" : "This page broke"}</h1>
      <p className="text-sm text-muted-foreground">{error.status === 404 ? "The address may be old." : error.message}</p>
      <Link className="text-sm underline" to={paths.instances}>
        Back to your instances
      </Link>
    </main>
  );
}

export const router = createBrowserRouter([
  {
    path: paths.login,
    lazy: async () => ({ Component: (await import("@/features/auth/login-page")).LoginPage }),
    errorElement: <Broken />,
    hydrateFallbackElement: <Wait />,
  },
  {
    path: "/",
    element: <Guarded />,
    errorElement: <Broken />,
    hydrateFallbackElement: <Wait />,
    children: [
      { index: true, lazy: async () => ({ Component: (await import("@/features/instances/instances-page")).InstancesPage }) },
      { path: "instances/:id", lazy: async () => ({ Component: (await import("@/features/instances/instance-page")).InstancePage }) },
      { path: "deploy", lazy: async () => ({ Component: (await import("@/features/deploy/deploy-page")).DeployPage }) },
      { path: "market", lazy: async () => ({ Component: (await import("@/features/market/market-page")).MarketPage }) },
      { path: "machines", lazy: async () => ({ Component: (await import("@/features/machines/machines-page")).MachinesPage }) },
      { path: "models", lazy: async () => ({ Component: (await import("@/features/models/models-page")).ModelsPage }) },
      { path: "snapshots", lazy: async () => ({ Component: (await import("@/features/instances/snapshots-page")).SnapshotsPage }) },
      { path: "standby", lazy: async () => ({ Component: (await import("@/features/instances/standby-page")).StandbyPage }) },
      { path: "usage", lazy: async () => ({ Component: (await import("@/features/usage/usage-page")).UsagePage }) },
      { path: "settings", lazy: async () => ({ Component: (await import("@/features/settings/settings-page")).SettingsPage }) },
    ],
  },
]);
