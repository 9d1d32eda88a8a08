"""An operator's figures: right, bounded, and for administrators only; alerts that ask for figures that exist."""

from __future__ import annotations

import re

import yaml

from infra.manifest import ROOT
from shared.domain.attempt import Outcome
from shared.flows import figures
from shared.flows.auth import access_token, create_user
from shared.store import codec
from shared.store.base import Put, Write
from shared.store.counting import CountingStore
from shared.store.sqlite import SqliteStore
from shared.web.endpoint import _note_tick
from shared.wire.base import Report
from tests.support.http import client
from tests.support.world import World

LINE = re.compile(r'([a-z_0-9]+)(?:\{([a-z_]+="[^"]*"(?:,[a-z_]+="[^"]*")*)\})? (-?[0-9.e+-]+)')


def samples(text: str) -> dict[str, float]:
    """Every sample by its name with labels; each line must be of the exposition format."""
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            match = LINE.fullmatch(line)
            assert match, line
            found[match[1] + (f"{{{match[2]}}}" if match[2] else "")] = float(match[3])
    return found


def test_the_figures_follow_what_happened() -> None:
    world = World()
    empty = samples(figures.text(world.deps))
    world.clock.step(seconds=5)
    world.running(width=3)
    _note_tick(Report(name="motion", looked_at=4, failed=1), world.deps)
    world.clock.step(hours=1)

    now = samples(figures.text(world.deps))

    assert empty["dumont_receipts_open"] == 0 and empty["dumont_spend_usd_per_hour"] == 0
    assert now['dumont_attempts_open{stage="adopted"}'] == 1
    assert now['dumont_races_24h{result="won"}'] == 1
    assert now['dumont_attempts_closed_24h{provider="fake",outcome="cancelled"}'] == 2
    assert 0 < now["dumont_spend_usd_per_hour"] < 0.5
    assert now["dumont_spend_usd_per_hour"] <= now["dumont_spend_usd_24h"] < 1
    assert now['dumont_ready_seconds{quantile="0.95"}'] >= 0
    assert now['dumont_tick_age_seconds{sweep="motion"}'] == 3600
    assert now['dumont_tick_failed{sweep="motion"}'] == 1


def test_a_machine_that_does_not_go_is_an_open_receipt_with_its_age() -> None:
    world = World()
    instance, _ = world.running(width=1)
    attempt = world.attempts(instance.id)[0]
    ending = attempt.ending(Outcome.READY, "hibernated", world.clock.now())
    world.store.commit([Put("attempts", attempt.id, codec.encode(ending))])
    world.clock.step(minutes=20)

    now = samples(figures.text(world.deps))

    assert now["dumont_receipts_open"] == 1 and now["dumont_receipt_oldest_seconds"] == 1200


def test_an_answer_reads_no_more_than_its_bound_and_says_so() -> None:
    counting = CountingStore(SqliteStore(":memory:"))
    world = World(store=counting)
    instance, _ = world.running(width=1)
    data = codec.encode(world.attempts(instance.id)[0])
    writes: list[Write] = [Put("attempts", f"{n:028x}", {**data, "id": f"{n:028x}"}) for n in range(700)]
    counting.inner.commit(writes[:400])
    counting.inner.commit(writes[400:])
    counting.documents = 0

    now = samples(figures.text(world.deps))

    assert counting.documents <= 2 * figures.READ
    assert now["dumont_metrics_truncated"] == 1


def test_only_an_administrator_sees_them() -> None:
    world = World()
    admin = create_user("root@example.com", "correct horse battery", True, world.deps)
    machines = client("machines", world.deps)

    def asked(user_id: str) -> int:
        token = access_token(user_id, "family", world.deps.settings, world.deps.clock)
        return machines.get("/api/v1/metrics", headers={"Authorization": f"Bearer {token}"}).status_code

    assert machines.get("/api/v1/metrics").status_code == 401
    assert asked(world.user.id) == 403
    assert asked(admin.id) == 200


def test_every_alert_asks_for_figures_that_exist_and_has_its_place_in_the_runbook() -> None:
    headings = re.findall(r"^### (.+)$", (ROOT / "docs" / "runbook.md").read_text(), re.M)
    files = sorted((ROOT / "infra" / "alerts").glob("*.yaml"))
    rules = [rule for file in files for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]

    assert len({rule["alert"] for rule in rules}) == len(rules) > 5
    for rule in rules:
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"\d+[mh]", rule["for"]) and rule["labels"]["severity"] in ("page", "ticket")
        asked = set(re.findall(r"dumont_\w+", rule["expr"]))
        assert asked and asked <= set(figures.HELP), rule["alert"]
        assert rule["annotations"]["runbook"] in headings
        assert re.search(r"[<>] ?[\w.]", rule["expr"]), "an alert without a limit always fires"
