/** The circuit breaker of automatic failovers: whether they go on, and letting them go on. */
import { useCloseBreakerMutation, useShowBreakerQuery, useWhoAmIQuery } from "@/api";
import { PACE } from "@/api/hooks";
import { Confirm } from "@/components/confirm";
import { ErrorPanel } from "@/components/states";
import { tell } from "@/components/tell";
import { Button } from "@/components/ui/button";
import { When } from "@/components/when";
import { count, span } from "@/lib/format";

export function Breaker() {
  const { data, error, refetch } = useShowBreakerQuery(undefined, { pollingInterval: PACE.detail, skipPollingIfUnfocused: true });
  const me = useWhoAmIQuery().data?.data;
  const [close] = useCloseBreakerMutation();
  if (!data) return error ? <ErrorPanel error={error} retry={refetch} /> : null;
  const { open, opened_at, recent, limit, within_s } = data.data;
  if (!open) {
    return (
      <p className="text-sm text-muted-foreground">
        Failovers begin by themselves: {recent} of at most {limit} in the last {span(within_s)}. More at once would be our mistake rather than so many dead hosts, and would stop
        them.
      </p>
    );
  }
  return (
    <div role="status" className="flex flex-wrap items-center justify-between gap-3 rounded-lg border border-warn/50 bg-warn/10 p-3 text-sm">
      <div className="grid gap-0.5">
        <p className="font-semibold text-warn">No failover begins by itself{opened_at && <>, since <When at={opened_at} /></>}</p>
        <p>
          More than {count(limit, "instance")} would have failed over within {span(within_s)}. What you ask for yourself still does.
        </p>
      </div>
      <Confirm
        trigger={
          <Button size="sm" variant="outline" disabledReason={me && !me.admin ? "An administrator looks first, and lets them go on." : null}>
            Let them go on
          </Button>
        }
        heading="Let failovers begin by themselves again?"
        description="Look at the providers and at the list of machines first: are those hosts really gone? Those that are, fail over within a minute."
        action="Let them go on"
        onConfirm={() => void tell("Failovers begin by themselves again", close().unwrap())}
      />
    </div>
  );
}
