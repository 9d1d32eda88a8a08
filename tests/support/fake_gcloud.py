"""Enough of gcloud, in memory, to hold a project's state between calls."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

EMPTY: dict[str, Any] = {
    "apis": [], "accounts": [], "policy": {}, "secrets": {}, "database": False, "indexes": [], "ttls": [], "services": {},
    "compute": {}, "buckets": {},
}  # fmt: skip

APIS = {"iam": "iam", "secrets": "secretmanager", "firestore": "firestore", "run": "run", "compute": "compute"}
"""What must be enabled before a command of this group does anything."""


class FakeGcloud:
    """`die`: (n, "before" | "after") ends the nth change without an answer, before or after it has happened."""

    def __init__(self) -> None:
        self.state = copy.deepcopy(EMPTY)
        self.log: list[list[str]] = []
        self.refused: set[str] = set()
        """APIs that were asked something and nobody had enabled."""
        self.unnoticed = 0
        """How many changes each API refuses after it was enabled."""
        self._refusals: Counter[str] = Counter()
        self.die: tuple[int, str] | None = None

    def __call__(self, given: Sequence[str]) -> subprocess.CompletedProcess[str]:
        words = [w for w in given if not w.startswith("--")]
        flags: dict[str, list[str]] = {}
        for word in given:
            if word.startswith("--"):
                name, _, value = word[2:].partition("=")
                flags.setdefault(name, []).append(value)
        api = f"{APIS.get(words[0])}.googleapis.com"
        if words[0] in APIS and (api not in self.state["apis"] or self._too_early(api, words, flags)):
            self.refused.add(api)
            why = f"{api} has not been used in project 1 before or it is disabled. reason: SERVICE_DISABLED"
            return subprocess.CompletedProcess(list(given), 1, "", f"ERROR: PERMISSION_DENIED: {why}")
        answer = read(words, flags, self.state)
        if answer == "missing":
            return subprocess.CompletedProcess(list(given), 1, "", "ERROR: NOT_FOUND")
        if answer is not None:
            return subprocess.CompletedProcess(list(given), 0, json.dumps(answer), "")
        self.log.append(list(given))
        when = self.die[1] if self.die and self.die[0] == len(self.log) else None
        if when != "before":
            change(words, flags, self.state)
        return subprocess.CompletedProcess(list(given), 137 if when else 0, "", "")

    def _too_early(self, api: str, words: list[str], flags: dict[str, list[str]]) -> bool:
        if self._refusals[api] >= self.unnoticed or read(words, flags, self.state) is not None:
            return False
        self._refusals[api] += 1
        return True


def one(flags: dict[str, list[str]], name: str) -> str:
    return flags[name][0]


def bindings(policy: dict[str, list[str]]) -> dict[str, Any]:
    return {"bindings": [{"role": role, "members": members} for role, members in policy.items()]}


def read(words: list[str], flags: dict[str, list[str]], state: dict[str, Any]) -> Any:
    command = " ".join(words)
    project = one(flags, "project")
    if command == "services list":
        return [{"config": {"name": name}} for name in state["apis"]]
    if command == "iam service-accounts list":
        return [{"email": f"{name}@{project}.iam.gserviceaccount.com"} for name in state["accounts"]]
    if command == f"projects get-iam-policy {project}":
        return bindings(state["policy"])
    if command == "secrets list":
        return [{"name": f"projects/1/secrets/{name}"} for name in state["secrets"]]
    if command.startswith("secrets get-iam-policy"):
        known = state["secrets"].get(words[-1])
        return "missing" if known is None else bindings(known["policy"])
    if command.startswith("secrets versions list"):
        known = state["secrets"].get(words[-1])
        return "missing" if known is None else [{"state": "ENABLED"}] * known["versions"]
    if command == "firestore databases describe":
        return {"name": "(default)"} if state["database"] else "missing"
    if command == "firestore indexes composite list":
        return state["indexes"]
    if command == "firestore fields describe expires_at":
        return {"ttlConfig": {"state": "ACTIVE"}} if one(flags, "collection-group") in state["ttls"] else {}
    if command == "run services list":
        return list(state["services"].values())
    if command.startswith("run services get-iam-policy"):
        known = state["services"].get(words[-1])
        return "missing" if known is None else bindings(known.get("policy", {}))
    if words[0] == "compute" and words[2] == "list":
        return list(state["compute"].get(words[1], {}).values())
    if command.startswith("storage buckets describe"):
        known = state["buckets"].get(words[-1])
        return "missing" if known is None else {"labels": known["labels"]}
    if command.startswith("storage buckets get-iam-policy"):
        known = state["buckets"].get(words[-1])
        return "missing" if known is None else bindings(known["policy"])
    return None


def change(words: list[str], flags: dict[str, list[str]], state: dict[str, Any]) -> None:
    command = " ".join(words)
    if command.startswith("services enable"):
        state["apis"] += words[2:]
    elif command.startswith("iam service-accounts create"):
        state["accounts"].append(words[-1])
    elif command.startswith("iam service-accounts delete"):
        state["accounts"].remove(words[-1].partition("@")[0])
    elif command.startswith("projects add-iam-policy-binding"):
        state["policy"].setdefault(one(flags, "role"), []).append(one(flags, "member"))
    elif command.startswith("projects remove-iam-policy-binding"):
        state["policy"][one(flags, "role")].remove(one(flags, "member"))
    elif command.startswith("secrets create"):
        state["secrets"][words[-1]] = {"policy": {}, "versions": 0}
    elif command.startswith("secrets add-iam-policy-binding"):
        state["secrets"][words[-1]]["policy"].setdefault(one(flags, "role"), []).append(one(flags, "member"))
    elif command == "firestore databases create":
        state["database"] = True
    elif command == "firestore indexes composite create":
        fields = [re.fullmatch(r"field-path=(\w+),order=(\w+)", f) for f in flags["field-config"]]
        rows = [{"fieldPath": f[1], "order": f[2].upper()} for f in fields if f]
        group = one(flags, "collection-group")
        name = f"projects/p/databases/(default)/collectionGroups/{group}/indexes/{len(state['indexes'])}"
        state["indexes"].append(
            {"name": name, "fields": [*rows, {"fieldPath": "__name__", "order": rows[-1]["order"]}]}
        )
    elif command == "firestore fields ttls update expires_at":
        state["ttls"].append(one(flags, "collection-group"))
    elif command.startswith("run deploy"):
        name, tag = words[2], one(flags, "tag")
        known = state["services"].setdefault(
            name, {"metadata": {"name": name, "labels": {}}, "status": {"traffic": []}}
        )
        known["metadata"]["labels"]["dumont-hash"] = one(flags, "update-labels").partition("=")[2]
        known["status"]["url"] = f"https://{name}.example"
        traffic = known["status"]["traffic"]
        traffic.append({"tag": tag, "percent": 0 if "no-traffic" in flags else 100})
    elif command.startswith("run services update-traffic"):
        tag = one(flags, "to-tags").removesuffix("=100")
        for row in state["services"][words[-1]]["status"]["traffic"]:
            row["percent"] = 100 if row["tag"] == tag else 0
    elif command.startswith("run services add-iam-policy-binding"):
        policy = state["services"][words[-1]].setdefault("policy", {})
        policy.setdefault(one(flags, "role"), []).append(one(flags, "member"))
    elif command.startswith("run services delete"):
        del state["services"][words[-1]]
    elif words[0] == "compute":
        balancer(words[1], words[2], words[3], flags, state["compute"].setdefault(words[1], {}))
    elif command.startswith("storage buckets create"):
        state["buckets"][words[-1]] = {"labels": {}, "policy": {}, "files": []}
    elif command.startswith("storage buckets add-iam-policy-binding"):
        policy = state["buckets"][words[-1]]["policy"]
        policy.setdefault(one(flags, "role"), []).append(one(flags, "member"))
    elif command.startswith("storage rsync"):
        bucket, _, folder = words[-1].removeprefix("gs://").partition("/")
        files = state["buckets"][f"gs://{bucket}"]["files"]
        # Twice the same leaves the same.
        files[:] = [kept for kept in files if kept[0] != folder] + [(folder, one(flags, "cache-control"))]
    elif command.startswith("storage buckets update"):
        name, _, value = one(flags, "update-labels").partition("=")
        state["buckets"][words[-1]]["labels"][name] = value
    elif command.startswith("storage rm"):
        del state["buckets"][words[-1]]
    else:
        raise SystemExit(f"this gcloud does not know {command}")


def balancer(kind: str, verb: str, name: str, flags: dict[str, list[str]], known: dict[str, dict[str, Any]]) -> None:
    """What a load balancer is made of; the fields are those that Google's lists show."""
    if verb == "delete":
        del known[name]
    elif verb == "add-backend":
        known[name]["backends"].append({"group": one(flags, "network-endpoint-group")})
    elif verb == "import":
        known[name] = {"name": name, **json.loads(Path(one(flags, "source")).read_text())}
    elif verb in ("create", "update"):
        made = known.setdefault(name, {"name": name, **({"backends": []} if kind == "backend-services" else {})})
        if kind == "ssl-certificates":
            made["managed"] = {"domains": [one(flags, "domains")], "status": "PROVISIONING"}
        elif kind == "target-https-proxies":
            made["sslCertificates"] = [f"https://x/{word}" for word in one(flags, "ssl-certificates").split(",")]
        elif kind == "addresses":
            made["address"] = "203.0.113.7"
    else:
        raise SystemExit(f"this gcloud does not know compute {kind} {verb}")
