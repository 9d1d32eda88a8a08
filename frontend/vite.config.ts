import { fileURLToPath } from "node:url";
import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

const SHARED = /\/src\/(components|lib|api\/(can|lifecycle|errors))|\/node_modules\/(lucide-react|tailwind-merge|clsx|class-variance-authority|@radix-ui\/react-(slot|compose-refs))\//;
/** The first file has these, or a dialog or a chart brings them when it is wanted. */
const ALONE = /\/(broken|paths|dialog|time-chart|peaks)\./;

export default defineConfig({
  plugins: [react(), tailwindcss()],
  resolve: { alias: { "@": fileURLToPath(new URL("./src", import.meta.url)) } },
  build: {
    manifest: true,
    target: "es2022",
    rolldownOptions: {
      output: {
        // What several pages are made of comes as one file with the frame: two dozen small ones would queue for a browser's six connections.
        codeSplitting: {
          includeDependenciesRecursively: false,
          groups: [{ name: "parts", test: (id) => SHARED.test(id) && !ALONE.test(id), minShareCount: 3 }],
        },
      },
    },
  },
  server: { proxy: { "/api": process.env.DUMONT_API_URL ?? "http://127.0.0.1:8700" } },
  test: {
    environment: "jsdom",
    setupFiles: ["src/testing/setup.ts"],
    include: ["src/**/*.test.{ts,tsx}"],
  },
});
