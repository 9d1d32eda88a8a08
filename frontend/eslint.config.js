import hooks from "eslint-plugin-react-hooks";
import ts from "typescript-eslint";

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
  ...["auth", "deploy", "instances", "machines", "market", "settings"].map((own) => ({
    files: [`src/features/${own}/**`],
    rules: {
      "no-restricted-imports": [
        "error",
        {
          patterns: ["@/app/*"].concat(
            ["auth", "deploy", "instances", "machines", "market", "settings"]
              .filter((other) => other !== own)
              .map((other) => `@/features/${other}/*`),
          ),
        },
      ],
    },
  })),
);
