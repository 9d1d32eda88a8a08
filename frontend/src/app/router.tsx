import { createBrowserRouter, Link, Navigate, useRouteError } from "react-router";
import { useSession } from "@/api/hooks";
import { Shell } from "@/app/shell";
import { LoginPage } from "@/features/auth/login-page";
import { InstancesPage } from "@/features/instances/instances-page";
import { Loading } from "@/components/states";
import { paths } from "@/lib/paths";

function Guarded() {
  const { refreshToken } = useSession();
  return refreshToken ? <Shell /> : <Navigate to={`${paths.login}?to=${encodeURIComponent(location.pathname)}`} replace />;
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
  { path: paths.login, element: <LoginPage />, errorElement: <Broken /> },
  {
    path: "/",
    element: <Guarded />,
    errorElement: <Broken />,
    hydrateFallbackElement: <Loading />,
    children: [
      { index: true, element: <InstancesPage /> },
      { path: "instances/:id", lazy: async () => ({ Component: (await import("@/features/instances/instance-page")).InstancePage }) },
      { path: "deploy", lazy: async () => ({ Component: (await import("@/features/deploy/deploy-page")).DeployPage }) },
      { path: "market", lazy: async () => ({ Component: (await import("@/features/market/market-page")).MarketPage }) },
      { path: "machines", lazy: async () => ({ Component: (await import("@/features/machines/machines-page")).MachinesPage }) },
      { path: "models", lazy: async () => ({ Component: (await import("@/features/models/models-page")).ModelsPage }) },
      { path: "usage", lazy: async () => ({ Component: (await import("@/features/usage/usage-page")).UsagePage }) },
      { path: "settings", lazy: async () => ({ Component: (await import("@/features/settings/settings-page")).SettingsPage }) },
    ],
  },
]);
