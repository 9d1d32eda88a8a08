import { useState, type FormEvent } from "react";
import { Navigate, useSearchParams } from "react-router";
import { useLoginMutation } from "@/api";
import { useAppDispatch, useSession } from "@/api/hooks";
import { renewed } from "@/api/session";
import { ErrorPanel } from "@/components/states";
import { Button } from "@/components/ui/button";
import { Field, Input } from "@/components/ui/field";
import { useTitle } from "@/lib/use-title";

export function LoginPage() {
  useTitle("Log in");
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");
  const [login, { error, isLoading }] = useLoginMutation();
  const { refreshToken, notice } = useSession();
  const [query] = useSearchParams();
  const dispatch = useAppDispatch();
  // Only pages of our own: an address elsewhere is not followed.
  const to = query.get("to") ?? "/";
  if (refreshToken) return <Navigate to={to.startsWith("/") && !to.startsWith("//") ? to : "/"} replace />;

  const submit = async (event: FormEvent) => {
    event.preventDefault();
    const answer = await login({ loginRequest: { email, password } });
    if (answer.data) {
      const { access_token, refresh_token, expires_in } = answer.data.data;
      dispatch(renewed({ accessToken: access_token, refreshToken: refresh_token, expiresIn: expires_in }));
    }
  };

  return (
    <main className="grid min-h-dvh place-items-center p-4">
      <form onSubmit={submit} className="grid w-full max-w-sm gap-4 rounded-xl border bg-card p-6" aria-label="Log in">
        <div className="grid gap-1">
          <img src="/icon.svg" alt="" width="40" height="40" />
          <h1 className="text-lg font-semibold">Dumont Cloud</h1>
          <p className="text-sm text-muted-foreground">GPU instances that outlive machines.</p>
        </div>
        {notice && <p role="status" className="rounded-md bg-muted p-3 text-sm">{notice}</p>}
        <Field label="Email">
          <Input type="email" autoComplete="username" required value={email} onChange={(e) => setEmail(e.target.value)} />
        </Field>
        <Field label="Password">
          <Input type="password" autoComplete="current-password" required value={password} onChange={(e) => setPassword(e.target.value)} />
        </Field>
        {error && <ErrorPanel error={error} />}
        <Button type="submit" disabled={isLoading}>
          {isLoading ? "Logging in…" : "Log in"}
        </Button>
      </form>
    </main>
  );
}
