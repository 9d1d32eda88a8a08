/** The only place that words an error. */
export interface Problem {
  title: string;
  message: string;
  requestId: string | null;
  status: number | string;
}

const TITLES: Record<string, string> = {
  no_capacity: "Nothing fits",
  provider_rejected: "The provider refused",
  provider_busy: "The provider is busy",
  unavailable: "Something does not answer",
  illegal_transition: "Not possible now",
  not_found: "Not there",
  too_many_requests: "Too many tries",
  unauthenticated: "Not logged in",
  forbidden: "Not allowed",
  invalid_request: "Please correct this",
};

/** What else the API told of a refusal. */
export const detailsOf = (error: unknown): Record<string, unknown> =>
  (error as { data?: { error?: { details?: Record<string, unknown> } } } | undefined)?.data?.error?.details ?? {};

export function problemOf(error: unknown): Problem {
  const given = (error ?? {}) as { status?: number | string; originalStatus?: number; data?: { error?: Record<string, unknown> }; message?: string };
  const body = given.data?.error;
  if (typeof body === "object") {
    return {
      title: TITLES[String(body.code)] ?? "It did not work",
      message: String(body.message),
      requestId: body.request_id ? String(body.request_id) : null,
      status: given.status ?? 0,
    };
  }
  if (given.status === "FETCH_ERROR") return { title: "Offline", message: "The API cannot be reached. Your machines go on without this page.", requestId: null, status: "offline" };
  if (given.status === "TIMEOUT_ERROR") return { title: "No answer", message: "The API took too long to answer.", requestId: null, status: "timeout" };
  if (given.status === "PARSING_ERROR") {
    return { title: "Not an answer of the API", message: `Something in between answered with status ${given.originalStatus}: a proxy, or a network that wants a login.`, requestId: null, status: "nonsense" };
  }
  return { title: "It did not work", message: given.message ?? "The answer could not be understood.", requestId: null, status: given.status ?? 0 };
}
