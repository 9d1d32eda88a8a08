"""Everything on Google Cloud, from the manifest: see it, make it so, take it away.

    python -m infra.deploy plan    --project P --region R
    python -m infra.deploy apply   --project P --region R
    python -m infra.deploy destroy --project P --region R

`--front load-balancer --domain D` puts Google's external load balancer before the functions in place of Firebase Hosting.

Each step reads what is there, and does something only where that differs from what is wanted: a second apply changes nothing,
and one that was cut off goes on with the next. Commands are gcloud's; jobs go through the scheduler's own client. Secrets are
made empty and never read: their values are yours to add.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra import agent_bundle, front, indexes, manifest, schedule
from infra.manifest import ROOT, Function
from infra.stage import stage

SERVICES = (
    "run.googleapis.com", "cloudbuild.googleapis.com", "artifactregistry.googleapis.com", "firestore.googleapis.com",
    "cloudscheduler.googleapis.com", "secretmanager.googleapis.com", "compute.googleapis.com", "iam.googleapis.com",
    "firebase.googleapis.com", "firebasehosting.googleapis.com",
)  # fmt: skip
BASE_IMAGE = "python313"
AUDIENCE = "dumont-functions"
PREFIX = "dumont-"
BUILDS = 6
"""At once; Google's own quota of builds is ten."""
CONSOLE = "npx firebase-tools deploy --only hosting,firestore:rules   (the console and the database's rules)"
RULES = "npx firebase-tools deploy --only firestore:rules   (the database's rules)"


@dataclass(frozen=True)
class Secret:
    name: str
    setting: str
    required: bool
    accounts: tuple[str, ...]
    """Who may read it."""


ACCOUNTS = {
    "read": "functions that only read and write the database",
    "rent": "functions that rent machines and write to storage",
    "auth": "the only holder of the key that signs tokens",
    "tick": "Cloud Scheduler's identity",
}
SECRETS = (
    Secret("master-key", "DUMONT_MASTER_KEY", True, ("read", "rent", "auth")),
    Secret("jwt-private-key", "DUMONT_JWT_PRIVATE_KEY", True, ("auth",)),
    Secret("vast-api-key", "DUMONT_VAST_API_KEY", False, ("rent",)),
    Secret("tensordock-token", "DUMONT_TENSORDOCK_TOKEN", False, ("rent",)),
    Secret("s3-access-key", "DUMONT_S3_ACCESS_KEY", True, ("rent",)),
    Secret("s3-secret-key", "DUMONT_S3_SECRET_KEY", True, ("rent",)),
)
ROLES = {
    "read": ("roles/datastore.user",),
    "rent": ("roles/datastore.user", "roles/compute.instanceAdmin.v1"),
    "auth": ("roles/datastore.user",),
    "tick": (),
}


class Failed(Exception):
    """A command failed; the message says which and what it said."""


DISABLED = ("SERVICE_DISABLED", "has not been used in project")
ABSENT = ("NOT_FOUND", "not found", "Cannot find", "does not exist", *DISABLED)
"""What gcloud says of a thing that is not there, or whose API nobody has enabled yet."""
NOTICED_S = (5, 10, 20, 40, 60)
"""An API that was just enabled refuses for a minute or two, until all of Google knows; nothing has happened then."""
Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


def run_gcloud(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["gcloud", *words], capture_output=True, text=True, timeout=1800)


def run_nothing(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """What gcloud would say of an empty project: for a plan without one."""
    return subprocess.CompletedProcess(list(words), 1, "", "NOT_FOUND")


class NoJobs:
    """A scheduler without jobs, likewise."""

    def reconcile(self, wanted: Sequence[schedule.Job], *, dry: bool = False) -> list[str]:
        return [f"scheduler  create {one.name} ({one.cron})" for one in wanted]

    def remove(self, prefix: str) -> list[str]:
        return []


class Gcloud:
    """Runs gcloud; `say` gets each command that changes something, before it runs."""

    def __init__(
        self,
        project: str,
        say: Callable[[str], None],
        run: Run | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._project = project
        self._say = say
        self._really = run or run_gcloud
        self._sleep = sleep

    def read(self, *words: str) -> Any:
        """The answer's JSON; None when there is no such thing."""
        done = self._run([*words, "--format=json"])
        if done.returncode == 0:
            return json.loads(done.stdout or "null")
        if any(mark in done.stderr for mark in ABSENT):
            return None
        raise Failed(f"gcloud {shlex.join(words)}: {done.stderr.strip()[-1500:]}")

    def change(self, *words: str) -> None:
        self._say(f"gcloud {shlex.join(words)}")
        done = self._run(list(words))
        for pause_s in NOTICED_S:
            if done.returncode == 0 or not any(mark in done.stderr for mark in DISABLED):
                break
            self._sleep(pause_s)
            done = self._run(list(words))
        if done.returncode != 0 and "ALREADY_EXISTS" not in done.stderr and "already exists" not in done.stderr:
            raise Failed(f"gcloud {shlex.join(words)}: {done.stderr.strip()[-1500:]}")

    def _run(self, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return self._really([*words, f"--project={self._project}", "--quiet"])


@dataclass(frozen=True)
class Target:
    project: str
    region: str
    settings: tuple[tuple[str, str], ...] = ()
    domain: str | None = None
    """Of the load balancer; None with Firebase Hosting."""

    @property
    def public_url(self) -> str:
        return f"https://{self.domain}" if self.domain else f"https://{self.project}.web.app"

    def account(self, short: str) -> str:
        return f"{PREFIX}{short}@{self.project}.iam.gserviceaccount.com"


def service_of(function: str) -> str:
    return PREFIX + function.replace("_", "-")


def account_of(function: Function) -> str:
    if function.name == "auth":
        return "auth"
    return "rent" if "boto3" in function.requires or "google-cloud-compute" in function.requires else "read"


def content_hash(folder: Path, extra: str) -> str:
    """Of every file below a stage and of how it is deployed; a label takes 12 letters of it."""
    digest = hashlib.sha256(extra.encode())
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def deploy_words(function: Function, target: Target, folder: Path, mounted: Sequence[Secret]) -> list[str]:
    """Flags of `gcloud run deploy`, without the tag."""
    account = account_of(function)
    env = {
        "DUMONT_ENV": "production",
        "DUMONT_STORE": f"firestore:{target.project}",
        "DUMONT_PUBLIC_URL": target.public_url,
        # Google's load balancer adds its own address to the caller's.
        "DUMONT_TRUSTED_HOPS": "2" if target.domain else "1",
        "DUMONT_OIDC_MODE": "iam" if function.schedule else "verify",
        "DUMONT_OIDC_AUDIENCE": AUDIENCE,
        "DUMONT_OIDC_EMAIL": target.account("tick"),
        "THREADS": str(function.concurrency),
        # Cloud Run tells no function its project, and a log line names its trace with it.
        "PROJECT_ID": target.project,
        **({"DUMONT_GCE_PROJECT": target.project} if account == "rent" else {}),
        **dict(target.settings),
    }
    words = [
        "run", "deploy", service_of(function.name), f"--source={folder}", "--function=main", f"--base-image={BASE_IMAGE}",
        f"--region={target.region}", f"--service-account={target.account(account)}", f"--memory={function.memory_mib}Mi",
        "--cpu=1", f"--timeout={function.timeout_s}", f"--concurrency={function.concurrency}", "--min-instances=0",
        f"--max-instances={function.max_instances}", "--cpu-boost", f"--add-custom-audiences={AUDIENCE}",
        # A revision counts as started once it has read its database: one that cannot never takes traffic.
        "--startup-probe=httpGet.path=/ready,timeoutSeconds=10,periodSeconds=10,failureThreshold=6",
        f"--ingress={'internal-and-cloud-load-balancing' if target.domain and not function.schedule else 'all'}",
        # A separator of its own: values hold commas.
        "--set-env-vars=^|^" + "|".join(f"{name}={value}" for name, value in sorted(env.items())),
    ]  # fmt: skip
    readable = [s for s in mounted if account in s.accounts]
    if readable:
        words.append("--set-secrets=" + ",".join(f"{s.setting}={PREFIX}{s.name}:latest" for s in readable))
    # Public ones take our own tokens in Authorization, which Cloud Run would otherwise read as Google's.
    words.append("--no-allow-unauthenticated" if function.schedule else "--no-invoker-iam-check")
    return words


class Deployment:
    """The steps, each as (name, changes)."""

    def __init__(self, target: Target, gcloud: Gcloud, stages: Path, jobs: schedule.Jobs | None) -> None:
        self._target = target
        self._gcloud = gcloud
        self._stages = stages
        self._jobs = jobs
        self._functions = manifest.load()
        self.notes: list[str] = []
        """What a person must do before the rest can be done."""
        self.hints: list[str] = []
        """What a person does after it."""
        self._whole = False

    def steps(self, *, whole: bool = False) -> Iterator[tuple[str, Iterator[list[str]]]]:
        """Each step with gcloud's words for what differs then, which are read when they are asked for.

        `whole`: also what can only be done once the secrets have values and the functions are there.
        """
        self._whole = whole
        for name, step in (
            ("apis", self._apis),
            ("accounts", self._accounts),
            ("secrets", self._secrets),
            ("database", self._database),
            ("functions", self._deploys),
            ("traffic", self._traffic),
            ("invokers", self._invokers),
            ("front", self._front),
        ):
            yield name, step()

    def _apis(self) -> Iterator[list[str]]:
        enabled = {one["config"]["name"] for one in self._gcloud.read("services", "list", "--enabled") or []}
        missing = [name for name in SERVICES if name not in enabled]
        if missing:
            yield ["services", "enable", *missing]

    def _accounts(self) -> Iterator[list[str]]:
        known = {one["email"] for one in self._gcloud.read("iam", "service-accounts", "list") or []}
        for short, what in ACCOUNTS.items():
            if self._target.account(short) not in known:
                yield ["iam", "service-accounts", "create", PREFIX + short, f"--display-name=Dumont Cloud: {what}"]
        held = self._bindings()
        for role, member in self._roles():
            if (role, member) not in held:
                yield ["projects", "add-iam-policy-binding", self._target.project, f"--member={member}",
                       f"--role={role}", "--condition=None"]  # fmt: skip

    def _roles(self) -> Iterator[tuple[str, str]]:
        """(role, account) in the project."""
        for short, roles in ROLES.items():
            for role in roles:
                yield role, f"serviceAccount:{self._target.account(short)}"

    def _bindings(self) -> set[tuple[str, str]]:
        policy = self._gcloud.read("projects", "get-iam-policy", self._target.project) or {}
        return {(b["role"], member) for b in policy.get("bindings", []) for member in b.get("members", [])}

    def _secrets(self) -> Iterator[list[str]]:
        known = {one["name"].rsplit("/", 1)[-1] for one in self._gcloud.read("secrets", "list") or []}
        for secret in SECRETS:
            name = PREFIX + secret.name
            if name not in known:
                yield ["secrets", "create", name, "--replication-policy=automatic"]
            policy = self._gcloud.read("secrets", "get-iam-policy", name) or {}
            held = {member for b in policy.get("bindings", []) for member in b.get("members", [])}
            for short in secret.accounts:
                member = f"serviceAccount:{self._target.account(short)}"
                if member not in held:
                    yield ["secrets", "add-iam-policy-binding", name, f"--member={member}",
                           "--role=roles/secretmanager.secretAccessor"]  # fmt: skip

    def filled(self) -> list[Secret]:
        """Secrets that have a value."""
        found = []
        for secret in SECRETS:
            versions = self._gcloud.read("secrets", "versions", "list", PREFIX + secret.name, "--filter=state=ENABLED")
            if versions:
                found.append(secret)
        return found

    def _database(self) -> Iterator[list[str]]:
        if self._gcloud.read("firestore", "databases", "describe", "--database=(default)") is None:
            yield ["firestore", "databases", "create", "--database=(default)", f"--location={self._target.region}",
                   "--type=firestore-native", "--delete-protection"]  # fmt: skip
        wanted = json.loads((ROOT / "infra" / "firestore.indexes.json").read_text())["indexes"]
        known = {_index_key(one) for one in self._gcloud.read("firestore", "indexes", "composite", "list") or []}
        for index in wanted:
            if _index_key(index) in known:
                continue
            fields = [f"--field-config=field-path={f['fieldPath']},order={f['order'].lower()}" for f in index["fields"]]
            yield ["firestore", "indexes", "composite", "create", f"--collection-group={index['collectionGroup']}",
                   "--query-scope=collection", *fields, "--async"]  # fmt: skip
        for collection in indexes.EXPIRING:
            field_ = self._gcloud.read(
                "firestore", "fields", "describe", "expires_at", f"--collection-group={collection}"
            )
            if not (field_ or {}).get("ttlConfig"):
                yield ["firestore", "fields", "ttls", "update", "expires_at", f"--collection-group={collection}",
                       "--enable-ttl", "--async"]  # fmt: skip

    def _services(self) -> dict[str, Any]:
        listed = self._gcloud.read("run", "services", "list", f"--region={self._target.region}") or []
        return {one["metadata"]["name"]: one for one in listed}

    def _deploys(self) -> Iterator[list[str]]:
        filled = self.filled()
        lacking = [s for s in SECRETS if s.required and s not in filled]
        if lacking:
            for secret in lacking:
                self.notes.append(
                    f"{PREFIX}{secret.name} has no value: gcloud secrets versions add {PREFIX}{secret.name} "
                    f"--data-file=- --project={self._target.project}   (docs/deploy.md says what it is)"
                )
            self.notes.append("functions wait until the secrets above have values; then apply again")
            if not self._whole:
                return
            filled = list(SECRETS)
        services = self._services()
        for function in self._functions.values():
            folder = self._stages / function.name
            words = deploy_words(function, self._target, folder, filled)
            label = content_hash(folder, shlex.join(w for w in words if not w.startswith("--source=")))
            there = services.get(service_of(function.name), {})
            if there.get("metadata", {}).get("labels", {}).get("dumont-hash") == label:
                continue
            first = service_of(function.name) not in services
            # The first revision must take traffic; later ones are tried under their tag first.
            yield [
                *words,
                f"--update-labels=dumont-hash={label}",
                f"--tag=c-{label}",
                *([] if first else ["--no-traffic"]),
            ]

    def _traffic(self) -> Iterator[list[str]]:
        for name, there in self._services().items():
            label = there.get("metadata", {}).get("labels", {}).get("dumont-hash")
            if not name.startswith(PREFIX) or not label:
                continue
            traffic = there.get("status", {}).get("traffic", [])
            if any(t.get("tag") == f"c-{label}" and t.get("percent") == 100 for t in traffic):
                continue
            yield ["run", "services", "update-traffic", name, f"--to-tags=c-{label}=100",
                   f"--region={self._target.region}"]  # fmt: skip

    def _invokers(self) -> Iterator[list[str]]:
        services = self._services()
        member = f"serviceAccount:{self._target.account('tick')}"
        for function in self._functions.values():
            name = service_of(function.name)
            if not function.schedule or not (name in services or self._whole):
                continue
            policy = (
                self._gcloud.read("run", "services", "get-iam-policy", name, f"--region={self._target.region}") or {}
            )
            held = {m for b in policy.get("bindings", []) for m in b.get("members", [])}
            if member not in held:
                yield ["run", "services", "add-iam-policy-binding", name, f"--region={self._target.region}",
                       f"--member={member}", "--role=roles/run.invoker"]  # fmt: skip

    def _front(self) -> Iterator[list[str]]:
        if self._target.domain is None:
            return
        services = self._services()
        wanted = {service_of(f.name): f for f in self._functions.values() if not f.schedule}
        if not self._whole and not set(wanted) <= set(services):
            return
        balancer = front.Front(
            self._target.project, self._target.region, self._target.domain, self._stages.parent / "url-map.yaml"
        )
        yield from balancer.changes(wanted, self._gcloud.read)
        address = front.listed(self._gcloud.read, "addresses").get(front.NAME, {}).get("address", "its address")
        self.hints.append(
            f"the name {self._target.domain} must lead to {address}; its certificate is made once it does"
        )

    def healthy(self, words: Sequence[str]) -> None:
        """Before a revision takes traffic, its tagged address must answer. Raises Failed."""
        name, tag = words[3], words[4].removeprefix("--to-tags=").removesuffix("=100")
        there = self._services().get(name, {})
        address = next((t.get("url") for t in there.get("status", {}).get("traffic", []) if t.get("tag") == tag), None)
        function = next(f for f in self._functions.values() if service_of(f.name) == name)
        if function.schedule or self._target.domain or not address:
            # Only the scheduler, or the load balancer, may call those; Cloud Run's start-up probe has asked them the same.
            return
        try:
            with urllib.request.urlopen(f"{address}/ready", timeout=60) as answer:
                answer.read()
        except (urllib.error.URLError, OSError) as error:
            raise Failed(
                f"{name} does not answer at {address}/ready ({error}); the old revision keeps the traffic"
            ) from error

    def jobs(self, *, dry: bool = False) -> list[str]:
        """Create or correct the scheduler's jobs; what changed. Paused ones stay paused."""
        services = self._services()
        wanted = []
        for function in self._functions.values():
            there = services.get(service_of(function.name))
            if function.schedule and (there or dry):
                url = there["status"]["url"] if there else "https://its-address"
                address = url + "/api/v1" + function.routes[0].path
                wanted.append(
                    schedule.Job(
                        name=service_of(function.name),
                        cron=function.schedule,
                        url=address,
                        account=self._target.account("tick"),
                        audience=AUDIENCE,
                        deadline_s=min(1800, function.timeout_s + 15),
                    )
                )
        return (self._jobs or schedule.connect(self._target.project, self._target.region)).reconcile(wanted, dry=dry)

    @property
    def project(self) -> str:
        return self._target.project

    def after(self) -> str:
        return RULES if self._target.domain else CONSOLE

    def removals(self) -> Iterator[tuple[str, ...]]:
        """Everything apply made, but for the database and the secrets."""
        yield from front.removals(self._target.project, self._target.region, self._gcloud.read)
        for name in self._services():
            if name.startswith(PREFIX):
                yield ("run", "services", "delete", name, f"--region={self._target.region}")
        held = self._bindings()
        for role, member in self._roles():
            if (role, member) in held:
                yield ("projects", "remove-iam-policy-binding", self._target.project, f"--member={member}",
                       f"--role={role}", "--condition=None")  # fmt: skip
        known = {one["email"] for one in self._gcloud.read("iam", "service-accounts", "list") or []}
        for short in ACCOUNTS:
            if self._target.account(short) in known:
                yield ("iam", "service-accounts", "delete", self._target.account(short))


def _index_key(index: dict[str, Any]) -> tuple[Any, ...]:
    group = index.get("collectionGroup") or index.get("name", "").split("/collectionGroups/")[-1].split("/")[0]
    fields = [(f["fieldPath"], f.get("order")) for f in index["fields"] if f["fieldPath"] != "__name__"]
    return (group, tuple(fields))


def make_stages(out: Path) -> None:
    bundle = agent_bundle.build_for_all()
    for function in manifest.load().values():
        stage(function, out, bundle)


def unreadable(project: str) -> str | None:
    """Why gcloud tells nothing of a project; None when it does."""
    try:
        done = run_gcloud(["projects", "describe", project, "--format=value(projectId)", "--quiet"])
    except FileNotFoundError:
        return "gcloud is not installed"
    return None if done.returncode == 0 else " ".join(done.stderr.split())[:160]


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(
    argv: Sequence[str] | None = None,
    jobs: schedule.Jobs | None = None,
    run: Run | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("plan", "apply", "destroy"))
    parser.add_argument("--project", required=True)
    parser.add_argument("--region", required=True)
    parser.add_argument("--set", action="append", default=[], metavar="DUMONT_X=Y", help="a setting for every function")
    parser.add_argument("--front", choices=("hosting", "load-balancer"), help="default: what is there, else hosting")
    parser.add_argument("--domain", help="the load balancer's name, for its certificate")
    parser.add_argument("--stages", type=Path, default=ROOT / "build" / "stage")
    parser.add_argument("--no-stage", action="store_true", help="deploy the stages as they are")
    given = parser.parse_args(argv)
    settings = tuple(tuple(one.split("=", 1)) for one in given.set)
    if any(len(pair) != 2 or not pair[0].startswith("DUMONT_") for pair in settings):
        parser.error("--set takes DUMONT_NAME=VALUE")
    if not given.no_stage and given.verb != "destroy":
        make_stages(given.stages)
    why = None if run or given.verb != "plan" else unreadable(given.project)
    if why:
        run, jobs = run_nothing, NoJobs()
        say(f"nothing can be read of {given.project} ({why}): this is the plan for an empty project")
    gcloud = Gcloud(given.project, say, run, sleep)
    try:
        there = front.domain_of(gcloud.read) if given.verb != "destroy" else None
        if given.front == "load-balancer" and not (given.domain or there):
            parser.error("--front load-balancer needs --domain")
        domain = None if given.front == "hosting" else given.domain or there
        deployment = Deployment(Target(given.project, given.region, settings, domain), gcloud, given.stages, jobs)
        if there and domain is None:
            deployment.hints.append("the load balancer is still there and costs $18 a month; destroy removes it")
        return {"plan": plan, "apply": apply, "destroy": destroy}[given.verb](deployment, gcloud)
    except Failed as failure:
        say(f"FAILED {failure}")
        say("nothing that was done is undone; the next apply goes on from here")
        return 1


def plan(deployment: Deployment, gcloud: Gcloud) -> int:
    count = 0
    for step, changes in deployment.steps(whole=True):
        for words in changes:
            count += 1
            say(f"{step:10} gcloud {shlex.join(words)}")
    for line in deployment.jobs(dry=True):
        count += 1
        say(line)
    for note in deployment.notes:
        say(f"you        {note}")
    say(f"{count} changes" if count else "nothing to change")
    for hint in [deployment.after(), *deployment.hints] if count else []:
        say(f"then       {hint}")
    return 0


def apply(deployment: Deployment, gcloud: Gcloud) -> int:
    count = 0
    for step, changes in deployment.steps():
        if step == "functions":
            # Each waits for a build of Google's; one that fails leaves the others done.
            with ThreadPoolExecutor(BUILDS) as pool:
                count += len(list(pool.map(lambda words: gcloud.change(*words), changes)))
            continue
        for words in changes:
            if step == "traffic":
                deployment.healthy(words)
            gcloud.change(*words)
            count += 1
    if not deployment.notes:
        for line in deployment.jobs():
            say(line)
            count += 1
    for note in deployment.notes:
        say(f"you: {note}")
    say(f"{count} changes" if count else "nothing to change")
    for hint in [] if deployment.notes else [deployment.after(), *deployment.hints]:
        say(f"then: {hint}")
    return 0


def destroy(deployment: Deployment, gcloud: Gcloud) -> int:
    for line in (deployment._jobs or schedule.connect(deployment._target.project, deployment._target.region)).remove(
        PREFIX
    ):
        say(line)
    for words in deployment.removals():
        gcloud.change(*words)
    project = deployment.project
    say(
        "kept, since they hold your data: the Firestore database (gcloud firestore databases delete), the secrets (gcloud secrets"
    )
    say(
        "delete) and your bucket. Kept by Google, for cents a month: the functions' images (gcloud artifacts repositories delete"
    )
    say(
        f"cloud-run-source-deploy) and sources (gs://run-sources-{project}-…). The console: npx firebase-tools hosting:disable."
    )
    say("Enabled APIs stay enabled. Rented machines end with their instances: destroy those first (dumont ls --all).")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
