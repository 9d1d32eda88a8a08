import hooks from "eslint-plugin-react-hooks";
import ts from "typescript-eslint";

const FEATURES = ["auth", "deploy", "instances", "machines", "market", "models", "settings", "usage"];

export default ts.config(
  { ignores: ["dist", "src/api/*.gen.ts"] },
  ...ts.configs.recommended,
  {
    plugins: { "react-hooks": hooks },
    rules: {
      "react-hooks/rules-of-hooks": "error",
      "react-hooks/exhaustive-deps": "error",
      "@typescript-eslint/no-explicit-any": "error",
    },
  },
  // Shared code knows no feature; features know no other feature and not the app.
  {
    files: ["src/components/**", "src/lib/**", "src/api/**"],
    rules: { "no-restricted-imports": ["error", { patterns: ["@/features/*", "@/app/*"] }] },
  },
  ...FEATURES.map((own) => ({
    files: [`src/features/${own}/**`],
    rules: {
      "no-restricted-imports": [
        "error",
        {
          patterns: ["@/app/*"].concat(
            FEATURES
              .filter((other) => other !== own)
              .map((other) => `@/features/${other}/*`),
          ),
        },
      ],
    },
  })),
);
