import { StrictMode, type CSSProperties } from "react";
import { createRoot } from "react-dom/client";
import { Provider } from "react-redux";
import { RouterProvider } from "react-router/dom";
import { Toaster } from "sonner";
import { router } from "@/app/router";
import { store } from "@/app/store";
import "@/index.css";

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <Provider store={store}>
      <RouterProvider router={router} />
      <Toaster
        position="bottom-right"
        closeButton
        style={{ "--normal-bg": "var(--card)", "--normal-text": "var(--foreground)", "--normal-border": "var(--border)" } as CSSProperties}
      />
    </Provider>
  </StrictMode>,
);
