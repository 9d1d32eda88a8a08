"""A deployment is what the manifest says; it is resumed, repeated and taken away without surprises."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.auth.credentials import AnonymousCredentials
from google.cloud.scheduler_v1.services.cloud_scheduler.transports import CloudSchedulerRestTransport
from jsonschema import Draft6Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT6

from infra import deploy, firebase, front, hosting, manifest, schedule
from infra.deploy import SECRETS, SERVICES
from tests.support.fake_gcloud import FakeGcloud

ARGS = ["--project=made-up", "--region=europe-west1", "--no-stage"]


class FakeJobs:
    def __init__(self) -> None:
        self.known: dict[str, schedule.Job] = {}

    def reconcile(self, wanted: Sequence[schedule.Job], *, dry: bool = False) -> list[str]:
        changed = [job for job in wanted if self.known.get(job.name) != job]
        if dry:
            return [f"scheduler {job.name}" for job in changed]
        self.known.update({job.name: job for job in changed})
        return [f"scheduler {job.name}" for job in changed]

    def remove(self, prefix: str) -> list[str]:
        gone, self.known = list(self.known), {}
        return gone


class Project:
    """A made-up project behind a gcloud of our own."""

    def __init__(self, tmp_path: Path) -> None:
        self.gcloud = FakeGcloud()
        self.stages = tmp_path / "stages"
        for name in manifest.load():
            (self.stages / name).mkdir(parents=True)
            (self.stages / name / "main.py").write_text(f"# {name}")
        self.jobs = FakeJobs()
        self.slept: list[float] = []

    def run(self, verb: str, *more: str) -> int:
        words = [verb, *ARGS, f"--stages={self.stages}", *more]
        return deploy.main(words, jobs=self.jobs, run=self.gcloud, sleep=self.slept.append)

    @property
    def state(self) -> dict[str, Any]:
        return self.gcloud.state

    def fill_secrets(self) -> None:
        for secret in self.state["secrets"].values():
            secret["versions"] = 1


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    # What the fake calls addresses are nobody's.
    monkeypatch.setattr(deploy.Deployment, "healthy", lambda self, words: None)
    return Project(tmp_path)


def applied(project: Project, *more: str) -> Project:
    assert project.run("apply", *more) == 0
    project.fill_secrets()
    assert project.run("apply", *more) == 0
    return project


BALANCED = ("--front=load-balancer", "--domain=gpu.example.com")


def test_a_plan_changes_nothing_and_names_everything(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert project.run("plan") == 0
    said = capsys.readouterr().out

    assert project.gcloud.log == [] and project.jobs.known == {}
    assert all(name in said for name in SERVICES)
    for name, function in manifest.load().items():
        assert f"run deploy {deploy.service_of(name)} " in said
        assert (f"scheduler {deploy.service_of(name)}\n" in said) == bool(function.schedule)
    assert all(secret.name in said for secret in SECRETS)
    assert "has no value" in said


def test_without_a_project_the_plan_is_that_of_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = Project(tmp_path)
    assert empty.run("plan") == 0
    wanted = [line for line in capsys.readouterr().out.splitlines() if " gcloud " in line]
    monkeypatch.setattr(deploy, "run_gcloud", gcloud_that_knows_nobody)

    assert deploy.main(["plan", *ARGS, f"--stages={empty.stages}"]) == 0
    said = capsys.readouterr().out
    assert "log in first" in said
    assert [line for line in said.splitlines() if " gcloud " in line] == wanted


def gcloud_that_knows_nobody(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    assert list(words[:2]) == ["projects", "describe"], "nothing else is asked"
    return subprocess.CompletedProcess(list(words), 1, "", "ERROR: log in first")


def test_a_project_that_never_enabled_an_api_is_an_empty_one_and_gets_them_first(project: Project) -> None:
    assert project.run("plan") == 0
    assert project.gcloud.log == [] and len(project.gcloud.refused) == 5
    assert project.run("destroy") == 0 and project.gcloud.log == [], "there is nothing to take away"

    applied(project)
    assert project.gcloud.log[0][:2] == ["services", "enable"]
    assert project.gcloud.refused <= set(project.gcloud.log[0])


def test_an_api_that_was_just_enabled_is_waited_for_and_one_that_never_opens_is_told(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.gcloud.unnoticed = 3
    assert project.run("apply") == 0
    assert project.slept == [5, 10, 20] * 3, "accounts, secrets and the database each opened at the fourth try"

    project.gcloud, project.slept[:] = FakeGcloud(), []
    project.gcloud.unnoticed = 1000
    assert project.run("apply") == 1
    assert project.slept == list(deploy.NOTICED_S)
    assert "SERVICE_DISABLED" in capsys.readouterr().out


def test_functions_wait_for_their_secrets_and_then_everything_is_there(project: Project) -> None:
    assert project.run("apply") == 0
    assert project.state["services"] == {} and project.jobs.known == {}

    project.fill_secrets()
    assert project.run("apply") == 0
    state, functions = project.state, manifest.load()
    assert set(state["services"]) == {deploy.service_of(name) for name in functions}
    assert len(project.jobs.known) == sum(f.schedule is not None for f in functions.values())
    for name, function in functions.items():
        invokers = state["services"][deploy.service_of(name)].get("policy", {})
        assert bool(invokers) == bool(function.schedule), name


@pytest.mark.parametrize("more", [(), BALANCED], ids=["hosting", "load balancer"])
def test_a_second_apply_changes_nothing(
    project: Project, more: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    before = len(applied(project, *more).gcloud.log)
    capsys.readouterr()

    assert project.run("apply", *more) == 0
    assert len(project.gcloud.log) == before
    assert "nothing to change" in capsys.readouterr().out


def test_only_what_changed_is_deployed_again_and_takes_traffic_last(project: Project) -> None:
    applied(project)
    (project.stages / "wake" / "main.py").write_text("# new")
    done = len(project.gcloud.log)

    assert project.run("apply") == 0
    new = [" ".join(words) for words in project.gcloud.log[done:]]
    assert len(new) == 2 and "run deploy dumont-wake" in new[0] and "--no-traffic" in new[0]
    assert "update-traffic dumont-wake" in new[1]
    traffic = project.state["services"]["dumont-wake"]["status"]["traffic"]
    assert [row["percent"] for row in traffic] == [0, 100]


@pytest.mark.parametrize("more", [(), BALANCED], ids=["hosting", "load balancer"])
def test_an_apply_cut_off_at_any_change_ends_the_same(project: Project, more: tuple[str, ...]) -> None:
    applied(project, *more)
    wanted, log = project.state, project.gcloud.log
    # With a load balancer only its own changes are new.
    first = next((n for n, words in enumerate(log, 1) if words[0] in ("compute", "storage")), 1)
    for number in range(first, len(log) + 1):
        for when in ("before", "after"):
            project.gcloud, project.jobs = FakeGcloud(), FakeJobs()
            project.gcloud.die = (number, when)
            for _ in range(6):
                if project.run("apply", *more) == 0:
                    if project.jobs.known:
                        break
                    project.fill_secrets()
            assert len(project.gcloud.log) >= number
            assert project.state == wanted, (number, when)


def test_destroy_removes_what_apply_made_and_says_what_it_kept(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    applied(project)
    assert project.run("destroy") == 0
    state = project.state

    assert (state["services"], state["accounts"], project.jobs.known) == ({}, [], {})
    assert not any(state["policy"].values()), "no role is left to an account that is gone"
    assert state["database"] and state["secrets"]
    assert "kept" in capsys.readouterr().out


def test_only_auth_reads_the_signing_key_and_only_renters_the_providers_keys(project: Project) -> None:
    state = applied(project).state
    readers = {name: {m for ms in s["policy"].values() for m in ms} for name, s in state["secrets"].items()}
    assert readers["dumont-jwt-private-key"] == {"serviceAccount:dumont-auth@made-up.iam.gserviceaccount.com"}
    assert readers["dumont-vast-api-key"] == {"serviceAccount:dumont-rent@made-up.iam.gserviceaccount.com"}
    deployed = {words[2]: " ".join(words) for words in project.gcloud.log if words[:2] == ["run", "deploy"]}
    assert "JWT_PRIVATE_KEY" in deployed["dumont-auth"]
    assert not any("JWT_PRIVATE_KEY" in words for name, words in deployed.items() if name != "dumont-auth")
    assert "VAST_API_KEY" not in deployed["dumont-auth"] + deployed["dumont-instances"]
    for name, function in manifest.load().items():
        open_to_all = "--no-invoker-iam-check" in deployed[deploy.service_of(name)]
        assert open_to_all == (function.schedule is None), name


def _bare(word: str) -> str:
    if "^|^" in word:
        return "--set-env-vars=A=b"
    return word.split("=", maxsplit=1)[0] + "=x" if " " in word else word


@pytest.mark.skipif(shutil.which("gcloud") is None, reason="gcloud is not installed")
def test_gclouds_own_parser_takes_every_command(project: Project, tmp_path: Path) -> None:
    applied(project, *BALANCED)
    (project.stages / "wake" / "main.py").write_text("# new")
    assert project.run("apply", "--domain=new.example.com") == 0 and project.run("destroy") == 0
    kinds: dict[str, list[str]] = {}
    for words in project.gcloud.log:
        # Once each command with each set of flags.
        verbs = [w for w in words[:3] if not w.startswith("--")]
        kinds.setdefault(" ".join([*verbs, *(w.split("=")[0] for w in words if w.startswith("--"))]), words)
    # Values with blanks and separators are gcloud's to split; here only words and flags are judged.
    lines = [" ".join(["gcloud", *map(_bare, words)]) for words in kinds.values()]
    lines.append("gcloud run deploy x --no-such-flag")
    text = tmp_path / "commands.md"
    text.write_text("```\n" + "\n".join(lines) + "\n```\n")
    done = subprocess.run(
        ["gcloud", "meta", "lint-gcloud-commands", f"--commands-text-file={text}"],
        capture_output=True, text=True, timeout=170,
        env={**os.environ, "CLOUDSDK_CONFIG": str(tmp_path / "config"), "CLOUDSDK_CORE_DISABLE_PROMPTS": "1"},
    )  # fmt: skip
    judged = {row["command_string"]: row for row in json.loads(done.stdout)}
    wrong = {line: row["error_message"] for line, row in judged.items() if not row["success"]}
    assert len(judged) == len(lines)
    assert [line for line in wrong if "no-such-flag" not in line] == [], list(wrong.values())
    assert len(wrong) == 1, "the parser found the flag that does not exist"


# Cloud Scheduler by its own client ------------------------------------------------------------------------------------


class SchedulerApi(BaseHTTPRequestHandler):
    jobs: dict[str, dict[str, Any]]
    calls: list[str]

    def _answer(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _body(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return found

    def do_GET(self) -> None:
        self._answer(200, {"jobs": list(self.jobs.values())})

    def do_POST(self) -> None:
        job = self._body()
        self.calls.append(f"create {job['name'].rsplit('/', 1)[-1]}")
        self.jobs[job["name"]] = {**job, "state": "ENABLED"}
        self._answer(200, self.jobs[job["name"]])

    def do_PATCH(self) -> None:
        name, _, query = self.path.removeprefix("/v1/").partition("?")
        self.calls.append(f"update {name.rsplit('/', 1)[-1]} {query}")
        self.jobs[name] = {**self.jobs[name], **self._body()}
        self._answer(200, self.jobs[name])

    def do_DELETE(self) -> None:
        self.jobs.pop(self.path.removeprefix("/v1/").partition("?")[0])
        self._answer(200, {})

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def api() -> Iterator[tuple[schedule.CloudJobs, type[SchedulerApi]]]:
    handler = type("Handler", (SchedulerApi,), {"jobs": {}, "calls": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    transport = CloudSchedulerRestTransport(
        host=f"http://127.0.0.1:{server.server_port}", credentials=AnonymousCredentials(), url_scheme="http"
    )
    yield schedule.connect("p", "r", transport), handler
    server.shutdown()


def a_job(**changes: Any) -> schedule.Job:
    given = {"name": "dumont-tick", "cron": "* * * * *", "url": "https://x/api", "account": "a@b", "audience": "c"}
    return schedule.Job(**{**given, "deadline_s": 60, **changes})


def test_jobs_are_created_once_corrected_when_they_differ_and_stay_paused(
    api: tuple[schedule.CloudJobs, type[SchedulerApi]],
) -> None:
    jobs, server = api
    assert len(jobs.reconcile([a_job()])) == 1
    assert jobs.reconcile([a_job()]) == []
    (name,) = server.jobs
    server.jobs[name]["state"] = "PAUSED"

    assert len(jobs.reconcile([a_job(cron="*/5 * * * *")])) == 1
    assert server.jobs[name]["schedule"] == "*/5 * * * *"
    assert "state" not in server.calls[-1], "a paused job stays paused"
    assert [call.split()[0] for call in server.calls] == ["create", "update"]
    assert jobs.remove("dumont-") and server.jobs == {}


# The load balancer ----------------------------------------------------------------------------------------------------


def test_the_load_balancer_is_made_whole_and_closes_the_functions_own_addresses(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    made = applied(project, *BALANCED).state
    public = {deploy.service_of(f.name) for f in manifest.load().values() if not f.schedule}

    assert set(made["compute"]["network-endpoint-groups"]) == set(made["compute"]["backend-services"]) == public
    assert all(len(one["backends"]) == 1 for one in made["compute"]["backend-services"].values())
    assert len(made["compute"]["forwarding-rules"]) == len(made["compute"]["addresses"]) == 1
    (bucket,) = made["buckets"].values()
    assert bucket["files"] == [("assets", hosting.LONG), ("", hosting.SHORT)], "the page comes after what it names"
    assert "203.0.113.7" in capsys.readouterr().out
    for words in (words for words in project.gcloud.log if words[:2] == ["run", "deploy"]):
        closed = "--ingress=internal-and-cloud-load-balancing" in words
        assert closed == (words[2] in public)
        assert any("DUMONT_PUBLIC_URL=https://gpu.example.com|" in word for word in words)


def test_a_load_balancer_that_is_there_is_kept_without_being_named_again(project: Project) -> None:
    before = len(applied(project, *BALANCED).gcloud.log)

    assert project.run("apply") == 0
    assert len(project.gcloud.log) == before


def test_another_domain_is_served_beside_the_old_until_its_certificate_is_signed(project: Project) -> None:
    compute = applied(project, *BALANCED).state["compute"]
    (old,) = compute["ssl-certificates"]
    assert project.run("apply", "--domain=new.example.com") == 0
    new = next(name for name in compute["ssl-certificates"] if name != old)
    served = [front.last(one) for one in compute["target-https-proxies"]["dumont"]["sslCertificates"]]
    assert served == [new, old]

    compute["ssl-certificates"][new]["managed"]["status"] = "ACTIVE"
    assert project.run("apply", "--domain=new.example.com") == 0
    served = [front.last(one) for one in compute["target-https-proxies"]["dumont"]["sslCertificates"]]
    assert served == [new] == list(compute["ssl-certificates"])


def test_new_files_of_the_console_are_sent_and_a_changed_route_imported(project: Project, tmp_path: Path) -> None:
    dist = tmp_path / "dist"
    (dist / "assets").mkdir(parents=True)
    (dist / "index.html").write_text("old")
    project.state["apis"] += SERVICES
    public = {deploy.service_of(f.name): f for f in manifest.load().values() if not f.schedule}
    balancer = front.Front("p", "r", "d.example.com", tmp_path / "map.yaml")

    def everything(services: dict[str, manifest.Function]) -> list[str]:
        gcloud = deploy.Gcloud("p", lambda _: None, project.gcloud)
        done = []
        for words in balancer.changes(services, gcloud.read, dist):
            gcloud.change(*words)
            done.append(" ".join(words[:3]))
        return done

    everything(public)
    assert everything(public) == []
    (dist / "index.html").write_text("new")
    assert everything(public) == [
        "storage rsync " + str(dist / "assets"),
        f"storage rsync {dist}",
        "storage buckets update",
    ]
    fewer = {name: function for name, function in public.items() if name != "dumont-wake"}
    assert everything(fewer) == ["compute url-maps import"]


def test_destroy_takes_the_load_balancer_away_from_the_outside_in(project: Project) -> None:
    applied(project, *BALANCED)
    done = len(project.gcloud.log)

    assert project.run("destroy") == 0
    assert not any(project.state["compute"].values()) and project.state["buckets"] == {}
    removed = [words[1] for words in project.gcloud.log[done:] if words[0] == "compute"]
    assert list(dict.fromkeys(removed))[:3] == ["forwarding-rules", "target-https-proxies", "url-maps"]


def test_every_route_leads_to_its_function_and_everything_else_to_the_console() -> None:
    public = {deploy.service_of(f.name): f for f in manifest.load().values() if not f.schedule}
    matcher = front.url_map("p", public)["pathMatchers"][0]

    def led(path: str) -> str:
        for rule in sorted(matcher["routeRules"], key=lambda rule: rule["priority"]):
            for match in rule["matchRules"]:
                template = match.get("pathTemplateMatch")
                if (
                    path == match.get("fullPathMatch")
                    or path.startswith(match.get("prefixMatch", "\0"))
                    or (template and re.fullmatch(re.escape(template).replace(r"\*", "[^/]+"), path))
                ):
                    return front.last(rule["service"])
        return front.last(matcher["defaultService"])

    for function in manifest.load().values():
        for route in function.routes:
            owner = "dumont-instances" if function.schedule else deploy.service_of(function.name)
            assert led("/api/v1" + re.sub(r"\{\w+\}", "i-0a1b", route.path)) == owner, route.path
    assert led("/api/v1/no/such/thing") == "dumont-instances", "an error in the API's own form"
    assert led("/") == led("/instances/i-0a1b") == front.CONSOLE


SCHEMAS = Path("/usr/lib/google-cloud-sdk/lib/googlecloudsdk/schemas/compute/v1")


@pytest.mark.skipif(not SCHEMAS.is_dir(), reason="the gcloud SDK is not installed")
def test_gclouds_own_schema_takes_the_table_of_routes() -> None:
    def retrieve(uri: str) -> Resource[Any]:
        return DRAFT6.create_resource(yaml.safe_load((SCHEMAS / uri.rpartition("/")[2]).read_text()))

    schema = {"$schema": "http://json-schema.org/draft-06/schema#", "$ref": "UrlMap.yaml"}
    validator = Draft6Validator(schema, registry=Registry(retrieve=retrieve))  # type: ignore[call-arg]
    table = front.url_map("p", {deploy.service_of(f.name): f for f in manifest.load().values() if not f.schedule})

    assert list(validator.iter_errors(table)) == []
    assert list(validator.iter_errors({**table, "no_such_field": 1})), "the schema judges"


# Static hosting -------------------------------------------------------------------------------------------------------


def test_hosting_can_tell_every_route_by_its_path_alone() -> None:
    assert firebase.conflicts() == []


def test_fixed_paths_come_before_those_with_parameters_and_scheduled_ones_are_not_public() -> None:
    sources = [row["source"] for row in firebase.rewrites("r")]
    assert sources.index("/api/v1/instances/provision") < sources.index("/api/v1/instances/*")
    assert not any("internal" in source for source in sources)
    assert sources[-1] == "!/api/**"
