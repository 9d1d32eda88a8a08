"""`firebase.json`: the console's files, their headers, and the API's routes to the functions, from the manifest.

python -m infra.firebase [--check]
"""

from __future__ import annotations

import json
import re
from typing import Any

from infra import generated, hosting, manifest

REGION = "us-central1"
"""Of the rewrites; `infra.deploy` in another region needs this file written with DUMONT_REGION."""


def routes() -> list[tuple[str, str]]:
    """(path with `*` for a parameter, service) of everything public: fixed paths before those with parameters, as in the local
    gateway."""
    rows = []
    for function in manifest.load().values():
        if function.schedule:
            # Only the scheduler calls those, at their own address.
            continue
        for route in function.routes:
            source = "/api/v1" + re.sub(r"\{\w+\}", "*", route.path)
            rows.append((source.count("*"), source, function.name))
    found = {source: "dumont-" + name.replace("_", "-") for _, source, name in sorted(rows)}
    return list(found.items())


def rewrites(region: str) -> list[dict[str, Any]]:
    """The single page last."""
    made = [
        {"source": source, "run": {"serviceId": service, "region": region, "pinTag": False}}
        for source, service in routes()
    ]
    return [*made, {"source": "!/api/**", "destination": "/index.html"}]


def conflicts() -> list[str]:
    """Paths that differ only in method and belong to two functions: Hosting cannot tell methods apart."""
    owners: dict[str, set[str]] = {}
    for function in manifest.load().values():
        for route in function.routes:
            owners.setdefault(re.sub(r"\{\w+\}", "*", route.path), set()).add(function.name)
    return sorted(path for path, names in owners.items() if len(names) > 1)


def text() -> str:
    import os

    headers = [{"key": name, "value": value} for name, value in hosting.HEADERS.items()]
    hsts = {"key": "Strict-Transport-Security", "value": hosting.HSTS}
    body = {
        "hosting": {
            "public": "frontend/dist",
            "ignore": ["**/.*"],
            "cleanUrls": True,
            "headers": [
                {"source": "**", "headers": [*headers, hsts, {"key": "Cache-Control", "value": hosting.SHORT}]},
                {"source": "/assets/**", "headers": [{"key": "Cache-Control", "value": hosting.LONG}]},
            ],
            "rewrites": rewrites(os.environ.get("DUMONT_REGION", REGION)),
        },
        "firestore": {"rules": "infra/firestore.rules", "indexes": "infra/firestore.indexes.json"},
    }
    return json.dumps(body, indent=2) + "\n"


if __name__ == "__main__":
    generated.run({"firebase.json": text}, "infra.firebase")
