import { lazy, useEffect, useState } from "react";
import { Link } from "react-router";
import { useDeleteModelMutation, useListModelsQuery, useShowModelQuery, type DeploymentView, type NewDeploymentView } from "@/api";
import { PACE } from "@/api/hooks";
import { Confirm } from "@/components/confirm";
import { Snippet } from "@/components/copy";
import { PageHead } from "@/components/page";
import { Part } from "@/components/part";
import { Empty, ErrorPanel, Loading } from "@/components/states";
import { tell } from "@/components/tell";
import { Button } from "@/components/ui/button";
import { Card, CardTitle } from "@/components/ui/card";
import { When } from "@/components/when";
import { DeployForm } from "@/features/models/deploy-form";
import { Fit } from "@/features/models/fit";
import { cn } from "@/lib/cn";
import { count, span, usdPerHour } from "@/lib/format";
import { paths } from "@/lib/paths";
import { useTitle } from "@/lib/use-title";

const Playground = lazy(async () => ({ default: (await import("@/features/models/playground")).Playground }));

const MOVING = ["deploying", "waking"];

function State({ state }: { state: string }) {
  const colour = state === "ready" ? "border-good/40 bg-good/10 text-good" : state === "failed" ? "border-bad/40 bg-bad/10 text-bad" : MOVING.includes(state) ? "border-info/40 bg-info/10 text-info" : "bg-muted text-muted-foreground";
  return (
    <span data-model-state={state} className={cn("rounded-full border px-2 py-0.5 text-xs font-medium", colour)}>
      {state}
    </span>
  );
}

function Facts({ one }: { one: DeploymentView }) {
  const machines = one.replicas.filter((replica) => replica.usd_per_hour !== null).length;
  const facts: [string, React.ReactNode, string][] = [
    ["Rate now", one.usd_per_hour === null ? "$0.000/h" : usdPerHour(one.usd_per_hour), `${machines} of ${count(one.replicas.length, "replica")} on a machine`],
    ["Requests", one.requests.toLocaleString("en"), one.requests > 0 ? "" : "none yet"],
    ["Tokens in, out", `${one.prompt_tokens.toLocaleString("en")}, ${one.completion_tokens.toLocaleString("en")}`, ""],
    ["Sleeps", one.idle_after_s === 0 ? "never" : `after ${span(one.idle_after_s)}`, "without a request; wakes on the next"],
  ];
  return (
    <dl className="grid grid-cols-2 gap-3 text-sm lg:grid-cols-4">
      {facts.map(([label, value, words]) => (
        <div key={label} className="min-w-0">
          <dt className="text-xs text-muted-foreground">{label}</dt>
          <dd className="font-semibold tabular-nums">{value}</dd>
          <dd className="text-xs text-muted-foreground">
            {label === "Requests" && one.requests > 0 && one.last_request_at ? (
              <>
                last <When at={one.last_request_at} />
              </>
            ) : (
              words
            )}
          </dd>
        </div>
      ))}
    </dl>
  );
}

function Deployment({ given, newKey, onMoved }: { given: DeploymentView; newKey: string | null; onMoved: () => PromiseLike<unknown> }) {
  // Looked at by itself while it moves; at rest the list says all there is.
  const moving = MOVING.includes(given.state);
  const { data } = useShowModelQuery({ model: given.id }, { pollingInterval: PACE.motion, skipPollingIfUnfocused: true, skip: !moving });
  const looked = moving ? data?.data : undefined;
  const moved = looked !== undefined && looked.state !== given.state;
  useEffect(() => {
    if (moved) void onMoved();
  }, [moved, onMoved]);
  const [remove] = useDeleteModelMutation();
  const [open, setOpen] = useState(newKey !== null);
  const one = looked ?? given;
  return (
    <li className="grid gap-4 rounded-lg border bg-card p-3 sm:p-4">
      <div className="flex flex-wrap items-start justify-between gap-3">
        <span className="grid min-w-0 gap-0.5">
          <span className="flex flex-wrap items-center gap-2">
            <strong className="break-words">{one.name}</strong> <State state={one.state} />
          </span>
          <span className="text-sm break-words text-muted-foreground">
            {one.model}, {one.runtime} {one.quantization}, {one.context.toLocaleString("en")} tokens
          </span>
        </span>
        <span className="flex flex-wrap gap-2">
          {one.instance_id && (
            <Button asChild size="sm" variant="ghost">
              <Link to={paths.instance(one.instance_id)}>Its instance</Link>
            </Button>
          )}
          <Button size="sm" variant="outline" aria-expanded={open} onClick={() => setOpen(!open)} disabledReason={one.state === "failed" ? "It failed." : null}>
            Playground
          </Button>
          <Confirm
            trigger={
              <Button size="sm" variant="danger">
                Delete
              </Button>
            }
            heading={`Delete ${one.name}?`}
            description="Its machines, its files and its key go for good."
            action="Delete it"
            onConfirm={() => void tell(`${one.name} is deleted`, remove({ model: one.id }).unwrap())}
          />
        </span>
      </div>
      <Facts one={one} />
      {one.fit && <Fit fit={one.fit} />}
      <Snippet label="endpoint" text={one.endpoint} />
      {one.failure && (
        <div role="status" className="grid gap-1 text-sm">
          <p className="text-bad">{one.failure}. Its machine is ended.</p>
          {one.log.length > 0 && (
            <pre tabIndex={0} aria-label="The server's last lines" className="max-h-40 overflow-auto rounded-md bg-muted p-2 text-xs">
              {one.log.join("\n")}
            </pre>
          )}
        </div>
      )}
      {open && one.state !== "failed" && (
        <Part>
          <Playground deployment={one} givenKey={newKey} />
        </Part>
      )}
    </li>
  );
}

export function ModelsPage() {
  useTitle("Models");
  const { data, error, isLoading, refetch } = useListModelsQuery(undefined, { pollingInterval: PACE.rest, skipPollingIfUnfocused: true });
  const [made, setMade] = useState<NewDeploymentView | null>(null);
  const deployments = data?.data.deployments ?? [];
  return (
    <div className="grid gap-4">
      <PageHead title="Models" words="An OpenAI-compatible endpoint for a model: it sleeps when nobody asks and wakes on the next request." />
      {isLoading ? (
        <Loading />
      ) : !data ? (
        <ErrorPanel error={error} retry={refetch} />
      ) : (
        <>
          <Card>
            <CardTitle>Deploy a model</CardTitle>
            <DeployForm runtimes={data.data.runtimes} onMade={setMade} />
          </Card>
          {made?.key && (
            <div role="status" className="grid gap-2 rounded-md border border-good/40 bg-good/5 p-3 text-sm">
              <p>{made.name}’s key, shown once:</p>
              <Snippet label="model key" text={made.key} />
            </div>
          )}
          {deployments.length === 0 ? (
            <Empty title="No models yet">
              <p>Name one above; first you are told what it needs and what that costs. Or from a terminal:</p>
              <Snippet label="command" text="dumont models deploy Qwen/Qwen2.5-7B-Instruct" />
            </Empty>
          ) : (
            <ul className="grid gap-3" aria-label="Deployments">
              {deployments.map((one) => (
                <Deployment key={one.id} given={one} newKey={made?.id === one.id ? made.key : null} onMoved={refetch} />
              ))}
            </ul>
          )}
        </>
      )}
    </div>
  );
}
