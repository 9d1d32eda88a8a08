/** Every address of the console. */
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
