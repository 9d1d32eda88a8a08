"""Master keys: what rests on which, and sealing everything anew with the newest.

    python -m infra.keys new
    python -m infra.keys status [--store S]
    python -m infra.keys reseal [--store S]

Settings are the functions' own: DUMONT_STORE and DUMONT_MASTER_KEY. docs/runbook.md has the steps of a rotation.
Only `new` prints a key, the others ids.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from infra.backup import dependencies, every
from shared import errors
from shared.deps import Deps
from shared.domain.attempt import Attempt, Stage
from shared.domain.models import Deployment
from shared.flows import keys
from shared.settings import Settings
from shared.store import codec
from shared.store.base import Data, Replace

TRIES = 5


@dataclass(frozen=True)
class Kind:
    """Documents that hold something sealed: `values` gives them by their place, `anew` the document with all of them sealed
    by the newest key."""

    collection: str
    values: Callable[[Data], list[str]]
    anew: Callable[[Settings, str, Data], Data]


def _env(data: Data) -> dict[str, str]:
    return dict((data.get("spec") or {}).get("env") or {})


def _env_anew(settings: Settings, id: str, data: Data) -> Data:
    user_id = str(data["user_id"])
    env = keys.seal_env(settings, user_id, keys.open_env(settings, user_id, _env(data)))
    return {**data, "spec": {**data["spec"], "env": env}} if env else data


def _webhook_anew(settings: Settings, id: str, data: Data) -> Data:
    plain = keys.open_text(settings, keys.WEBHOOK, id, str(data["secret"]))
    return {**data, "secret": keys.seal_text(settings, keys.WEBHOOK, id, plain)}


def _storage_anew(settings: Settings, id: str, data: Data) -> Data:
    plain = keys.opened(settings, keys.STORAGE, id, str(data["sealed_secret"]))
    return {**data, "sealed_secret": keys.keyring(settings).seal(keys.STORAGE, id, plain)}


def _data_key_anew(settings: Settings, id: str, data: Data) -> Data:
    plain = keys.opened(settings, keys.DATA_KEY, id, str(data["wrapped"]))
    return {**data, "wrapped": keys.keyring(settings).seal(keys.DATA_KEY, id, plain)}


KINDS = (
    Kind("instance_keys", lambda data: [str(data["wrapped"])], _data_key_anew),
    Kind("webhooks", lambda data: [str(data["secret"])], _webhook_anew),
    Kind("storage", lambda data: [str(data["sealed_secret"])], _storage_anew),
    Kind("instances", lambda data: list(_env(data).values()), _env_anew),
    Kind("pools", lambda data: list(_env(data).values()), _env_anew),
)


def status(deps: Deps) -> dict[str, Any]:
    """Which keys there are, how much is sealed by each, and how many live things are derived from each."""
    ring = keys.keyring(deps.settings)
    sealed: dict[str, Counter[str]] = {}
    for kind in KINDS:
        counts = Counter(ring.rests_on(v) for _, data in every(deps.store, kind.collection) for v in kind.values(data))
        sealed[kind.collection] = counts
    derived = {"attempts": Counter(_attempts(deps)), "models": Counter(_models(deps))}
    newest = ring.ids[0]
    resting = Counter[str]()
    for counts in (*sealed.values(), *derived.values()):
        resting.update({key: n for key, n in counts.items() if key != newest})
    return {
        "keys": list(ring.ids),
        "sealed": {name: dict(counts) for name, counts in sealed.items()},
        "derived": {name: dict(counts) for name, counts in derived.items()},
        "rests_on_older": dict(resting),
        "older_may_go": not resting,
    }


def _attempts(deps: Deps) -> Iterator[str]:
    """Of machines that are not proven gone: the sweep for orphans must know their labels."""
    for id, data in every(deps.store, "attempts"):
        if codec.decode(Attempt, data).stage is not Stage.CLOSED:
            yield keys.signer_of(deps.settings, id) or "a key that is not here"


def _models(deps: Deps) -> Iterator[str]:
    """Of deployments that live: their server was given a secret that follows from the key."""
    for id, data in every(deps.store, "models"):
        deployment = codec.decode(Deployment, data)
        if deployment.state not in ("failed", "deleted"):
            yield keys.model_secret(deps.settings, id, "server", deployment.key_hash)[1]


def reseal(deps: Deps) -> dict[str, int]:
    """Seal with the newest key what another sealed, or nothing did; how many documents were written, by collection."""
    newest, written = keys.keyring(deps.settings).ids[0], Counter[str]()
    for kind in KINDS:
        for id, data in list(every(deps.store, kind.collection)):
            if all(keys.keyring(deps.settings).rests_on(value) == newest for value in kind.values(data)):
                continue
            written[kind.collection] += _reseal(deps, kind, id)
    return dict(written)


def _reseal(deps: Deps, kind: Kind, id: str) -> int:
    for _ in range(TRIES):
        document = deps.store.get(kind.collection, id)
        if document is None:
            return 0
        changed = kind.anew(deps.settings, id, document.data)
        try:
            deps.store.commit([Replace(kind.collection, id, changed, document.rev)])
            return 1
        except errors.StoreConflict:
            # Somebody works with it: again, with what they wrote.
            continue
    raise errors.Unavailable(f"{kind.collection}/{id} is being changed all the time; begin again, the rest is done")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("new", "status", "reseal"))
    parser.add_argument("--store", help="sqlite:PATH or firestore:PROJECT; default: DUMONT_STORE")
    given = parser.parse_args()
    if given.action == "new":
        sys.stdout.write(base64.b64encode(os.urandom(32)).decode() + "\n")
        return
    deps = dependencies(given.store)
    try:
        answer: Any = reseal(deps) if given.action == "reseal" else status(deps)
    except errors.Error as error:
        sys.exit(f"error: {error.message}")
    finally:
        deps.store.close()
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
