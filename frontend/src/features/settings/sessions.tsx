import { useState } from "react";
import { useEndOtherSessionsMutation, useEndSessionMutation, useListSessionsQuery } from "@/api";
import { useSession } from "@/api/hooks";
import { sessionOf } from "@/api/session";
import { Confirm } from "@/components/confirm";
import { ErrorPanel, Loading } from "@/components/states";
import { tell } from "@/components/tell";
import { Button } from "@/components/ui/button";
import { When } from "@/components/when";
import { deviceName } from "@/features/settings/device";

/** So many are shown at first, this one before the others. */
const FIRST = 5;

export function Sessions() {
  const [all, setAll] = useState(false);
  const { data, error, isLoading, refetch } = useListSessionsQuery();
  const [end] = useEndSessionMutation();
  const [endOthers] = useEndOtherSessionsMutation();
  const { accessToken, refreshToken } = useSession();
  const mine = sessionOf(accessToken);
  if (isLoading) return <Loading />;
  if (error && !data) return <ErrorPanel error={error} retry={refetch} />;
  const sessions = data?.data.sessions ?? [];
  const others = sessions.filter((one) => one.id !== mine);
  const ordered = [...sessions.filter((one) => one.id === mine), ...others];
  const shown = all ? ordered : ordered.slice(0, FIRST);
  return (
    <div className="grid gap-3">
      <ul className="divide-y text-sm" aria-label="Sessions">
        {shown.map((one) => (
          <li key={one.id} className="flex items-center justify-between gap-3 py-2 first:pt-0">
            <span>
              <strong>{deviceName(one.device)}</strong>
              {one.id === mine && <span className="ml-2 font-medium text-good">this one</span>}
              <span className="block text-xs text-muted-foreground">
                Logged in <When at={one.created_at} />, renewed <When at={one.renewed_at} />
              </span>
            </span>
            {one.id !== mine && (
              <Button
                size="sm"
                variant="outline"
                aria-label={`End the session of ${new Date(one.created_at).toLocaleString()}`}
                onClick={() => void tell("That session is ended", end({ session: one.id }).unwrap())}
              >
                End
              </Button>
            )}
          </li>
        ))}
      </ul>
      {shown.length < ordered.length && (
        <Button size="sm" variant="outline" className="justify-self-start" onClick={() => setAll(true)}>
          All {ordered.length}
        </Button>
      )}
      <Confirm
        trigger={
          <Button variant="danger" className="justify-self-start" disabledReason={others.length === 0 ? "There are no others." : null}>
            End all others
          </Button>
        }
        heading="End every other session?"
        description="Each other browser must log in again; what it holds works for at most fifteen more minutes. API keys stay."
        action="End them"
        onConfirm={() => void tell("Every other session is ended", endOthers({ refreshRequest: { refresh_token: refreshToken ?? "" } }).unwrap())}
      />
    </div>
  );
}
