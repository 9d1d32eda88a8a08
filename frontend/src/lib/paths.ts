/** Every address of the console: the router, the navigation and the browser's tests read this list. */
export const paths = {
  login: "/login",
  instances: "/",
  instance: (id: string) => `/instances/${id}`,
  deploy: "/deploy",
  market: "/market",
  machines: "/machines",
  models: "/models",
  snapshots: "/snapshots",
  standby: "/standby",
  usage: "/usage",
  settings: "/settings",
} as const;

/** The pages one sees after the login. */
export type PageName = Exclude<keyof typeof paths, "login">;
