import { lazy, StrictMode, Suspense, type CSSProperties } from "react";
import { createRoot } from "react-dom/client";
import { Provider } from "react-redux";
import { RouterProvider } from "react-router/dom";
import { loadShell, router } from "@/app/router";
import { store } from "@/app/store";
import { Boundary } from "@/components/broken";
import "@/index.css";

// Nothing is said in the first moment: what says it may come after the page.
const Toaster = lazy(async () => ({ default: (await import("sonner")).Toaster }));

// The frame is loaded beside the page, not after it; should it not come, its place says so.
if (store.getState().session.refreshToken) loadShell().catch(() => undefined);

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <Provider store={store}>
      <RouterProvider router={router} />
      <Boundary broken={null}>
        <Suspense fallback={null}>
          <Toaster
            position="bottom-right"
            closeButton
            style={{ "--normal-bg": "var(--card)", "--normal-text": "var(--foreground)", "--normal-border": "var(--border)" } as CSSProperties}
          />
        </Suspense>
      </Boundary>
    </Provider>
  </StrictMode>,
);
