"""The external load balancer in front of the functions, where Firebase Hosting is not enough: it streams, waits longer than a
minute, and closes the functions' own addresses to everybody else.

A serverless group and a backend service for each public function, a bucket for the console's files, one table of routes from the
manifest, a managed certificate, one address. Names are ours alone, so what is there is found by its name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from infra import firebase, hosting
from infra.manifest import ROOT, Function
from shared.frozen import dataclass

NAME = "dumont"
CONSOLE = "dumont-console"
DIST = ROOT / "frontend" / "dist"
LABEL = "dumont-files"
MANAGED = "EXTERNAL_MANAGED"
Read = Callable[..., Any]


@dataclass(frozen=True)
class Front:
    project: str
    region: str
    domain: str
    map_file: Path
    """Where the table of routes is written for gcloud to read."""

    @property
    def bucket(self) -> str:
        return f"gs://{self.project}-{CONSOLE}"

    @property
    def certificate(self) -> str:
        """A certificate's domains cannot be changed: another domain is another certificate."""
        return f"{NAME}-{hashlib.sha256(self.domain.encode()).hexdigest()[:8]}"

    def changes(self, services: Mapping[str, Function], read: Read, dist: Path = DIST) -> Iterator[list[str]]:
        """gcloud's words for what differs. `services`: the public functions by the names they run under."""
        yield from self._console(read, dist)
        groups = listed(read, "network-endpoint-groups")
        backends = listed(read, "backend-services")
        for name in services:
            if name not in groups:
                yield ["compute", "network-endpoint-groups", "create", name, f"--region={self.region}",
                       "--network-endpoint-type=serverless", f"--cloud-run-service={name}"]  # fmt: skip
            if name not in backends:
                yield ["compute", "backend-services", "create", name, "--global",
                       f"--load-balancing-scheme={MANAGED}", "--protocol=HTTPS"]  # fmt: skip
            if not backends.get(name, {}).get("backends"):
                yield ["compute", "backend-services", "add-backend", name, "--global",
                       f"--network-endpoint-group={name}", f"--network-endpoint-group-region={self.region}"]  # fmt: skip
        wanted = url_map(self.project, services)
        if listed(read, "url-maps").get(NAME, {}).get("description") != wanted["description"]:
            self.map_file.parent.mkdir(parents=True, exist_ok=True)
            # JSON is YAML as well.
            self.map_file.write_text(json.dumps(wanted, indent=1))
            yield ["compute", "url-maps", "import", NAME, "--global", f"--source={self.map_file}"]
        yield from self._door(read)

    def _console(self, read: Read, dist: Path) -> Iterator[list[str]]:
        there = read("storage", "buckets", "describe", self.bucket)
        if there is None:
            yield ["storage", "buckets", "create", self.bucket, f"--location={self.region}",
                   "--uniform-bucket-level-access"]  # fmt: skip
        policy = read("storage", "buckets", "get-iam-policy", self.bucket) or {}
        if not any("allUsers" in one.get("members", []) for one in policy.get("bindings", [])):
            yield ["storage", "buckets", "add-iam-policy-binding", self.bucket, "--member=allUsers",
                   "--role=roles/storage.objectViewer"]  # fmt: skip
        digest = digest_of(dist)
        if ((there or {}).get("labels") or {}).get(LABEL) != digest:
            # The files that a page names are there before the page; the label, last, says that all are. Older files stay for
            # pages that are open.
            for folder, kept, more in (("/assets", hosting.LONG, ()), ("", hosting.SHORT, ("--exclude=^assets/",))):
                yield ["storage", "rsync", f"{dist}{folder}", f"{self.bucket}{folder}", "--recursive",
                       f"--cache-control={kept}", *more]  # fmt: skip
            yield ["storage", "buckets", "update", self.bucket, f"--update-labels={LABEL}={digest}"]
        if CONSOLE not in listed(read, "backend-buckets"):
            headers = [f"--custom-response-header={name}: {value}" for name, value in hosting.HEADERS.items()]
            yield ["compute", "backend-buckets", "create", CONSOLE, f"--gcs-bucket-name={self.bucket[5:]}",
                   "--enable-cdn", "--cache-mode=USE_ORIGIN_HEADERS", *headers,
                   f"--custom-response-header=Strict-Transport-Security: {hosting.HSTS}"]  # fmt: skip

    def _door(self, read: Read) -> Iterator[list[str]]:
        certificates = listed(read, "ssl-certificates")
        if self.certificate not in certificates:
            yield ["compute", "ssl-certificates", "create", self.certificate, "--global", f"--domains={self.domain}"]
        others = [name for name in certificates if name != self.certificate]
        signed = certificates.get(self.certificate, {}).get("managed", {}).get("status") == "ACTIVE"
        # Google signs once the name leads here; until then the old name goes on being served.
        wanted = [self.certificate, *([] if signed else others)]
        proxy = listed(read, "target-https-proxies").get(NAME)
        uses = f"--ssl-certificates={','.join(wanted)}"
        if proxy is None:
            yield ["compute", "target-https-proxies", "create", NAME, "--global", f"--url-map={NAME}", uses]
        elif [last(one) for one in proxy.get("sslCertificates", [])] != wanted:
            yield ["compute", "target-https-proxies", "update", NAME, "--global", uses]
        for old in others if signed else []:
            yield ["compute", "ssl-certificates", "delete", old, "--global"]
        if NAME not in listed(read, "addresses"):
            yield ["compute", "addresses", "create", NAME, "--global", "--ip-version=IPV4"]
        if NAME not in listed(read, "forwarding-rules"):
            yield ["compute", "forwarding-rules", "create", NAME, "--global", f"--load-balancing-scheme={MANAGED}",
                   f"--target-https-proxy={NAME}", f"--address={NAME}", "--ports=443"]  # fmt: skip


def removals(project: str, region: str, read: Read) -> Iterator[tuple[str, ...]]:
    """What is there of a load balancer, the outermost first."""
    for kind in ("forwarding-rules", "target-https-proxies", "url-maps", "ssl-certificates", "backend-services",
                 "backend-buckets", "network-endpoint-groups", "addresses"):  # fmt: skip
        where = {"network-endpoint-groups": [f"--region={region}"], "backend-buckets": []}.get(kind, ["--global"])
        for name in listed(read, kind):
            yield ("compute", kind, "delete", name, *where)
    bucket = f"gs://{project}-{CONSOLE}"
    if read("storage", "buckets", "describe", bucket) is not None:
        yield ("storage", "rm", bucket, "--recursive")


def domain_of(read: Read) -> str | None:
    """Of the load balancer that is there; None where there is none."""
    if NAME not in listed(read, "forwarding-rules"):
        return None
    certificates = listed(read, "ssl-certificates").values()
    found = [domain for one in certificates for domain in one.get("managed", {}).get("domains", [])]
    return str(found[0]) if found else None


def listed(read: Read, kind: str) -> dict[str, dict[str, Any]]:
    """Ours of a kind, by name."""
    found = read("compute", kind, "list") or []
    return {one["name"]: one for one in found if one["name"] == NAME or one["name"].startswith(NAME + "-")}


def last(address: str) -> str:
    return address.rsplit("/", 1)[-1]


def digest_of(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def url_map(project: str, services: Mapping[str, Function]) -> dict[str, Any]:
    """Which function a path belongs to, as Hosting has it too; anything else is the console's."""
    place = f"https://www.googleapis.com/compute/v1/projects/{project}/global"
    console = f"{place}/backendBuckets/{CONSOLE}"
    rules: list[dict[str, Any]] = []
    for source, name in firebase.routes():
        if name not in services:
            continue
        match = {"pathTemplateMatch" if "*" in source else "fullPathMatch": source}
        service = f"{place}/backendServices/{name}"
        if rules and rules[-1]["service"] == service:
            rules[-1]["matchRules"].append(match)
        else:
            rules.append({"service": service, "matchRules": [match]})
    # What nobody knows below /api is an error in the API's own form.
    nobody = f"{place}/backendServices/{NAME}-instances"
    rules.append({"service": nobody, "matchRules": [{"prefixMatch": "/api/"}]})
    numbered = [{"priority": number, **rule} for number, rule in enumerate(rules, 1)]
    page = {"matchResponseCodes": ["404"], "path": "/index.html", "overrideResponseCode": 200}
    body: dict[str, Any] = {
        "name": NAME,
        "defaultService": console,
        "hostRules": [{"hosts": ["*"], "pathMatcher": "all"}],
        "pathMatchers": [
            {
                "name": "all",
                "defaultService": console,
                # A page of the console is a path that no file has.
                "defaultCustomErrorResponsePolicy": {"errorService": console, "errorResponseRules": [page]},
                "routeRules": numbered,
            }
        ],
    }
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:12]
    return {**body, "description": f"routes {digest}"}
