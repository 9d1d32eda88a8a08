"""Enough of gcloud, in memory, to hold a project's state between calls."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from collections.abc import Sequence
from typing import Any

EMPTY: dict[str, Any] = {
    "apis": [], "accounts": [], "policy": {}, "secrets": {}, "database": False, "indexes": [], "ttls": [], "services": {},
}  # fmt: skip


class FakeGcloud:
    """`die`: (n, "before" | "after") ends the nth change without an answer, before or after it has happened."""

    def __init__(self) -> None:
        self.state = copy.deepcopy(EMPTY)
        self.log: list[list[str]] = []
        self.die: tuple[int, str] | None = None

    def __call__(self, given: Sequence[str]) -> subprocess.CompletedProcess[str]:
        words = [w for w in given if not w.startswith("--")]
        flags: dict[str, list[str]] = {}
        for word in given:
            if word.startswith("--"):
                name, _, value = word[2:].partition("=")
                flags.setdefault(name, []).append(value)
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
    else:
        raise SystemExit(f"this gcloud does not know {command}")
