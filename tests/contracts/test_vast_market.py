"""The simulated Vast.ai, as the vendor's own library and command line see it: bids, taken GPUs, logs, keys, webhooks."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import asyncssh
import httpx
import pytest

from tests.support.simulated import VAST_KEY, Simulated, simulators


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulated]:
    with simulators(tmp_path_factory.mktemp("vast")) as running:
        yield running


@pytest.fixture(autouse=True)
def _clean(simulated: Simulated) -> Iterator[None]:
    yield
    for row in simulated.control("GET", "/machines"):
        call(simulated, "DELETE", f"/instances/{row['id']}/")


def call(simulated: Simulated, method: str, path: str, body: Any = None, key: str = VAST_KEY) -> Any:
    url = f"{simulated.vast_url}/api/v0{path}"
    return httpx.request(method, url, json=body, headers={"Authorization": f"Bearer {key}"}, timeout=30).json()


def offers(simulated: Simulated, kind: str = "on-demand") -> list[dict[str, Any]]:
    query = {"type": kind, "order": [["dph_total", "asc"]], "num_gpus": {"eq": 1}}
    return list(call(simulated, "POST", "/bundles/", query)["offers"])


def show(simulated: Simulated, id: int) -> dict[str, Any]:
    return dict(call(simulated, "GET", f"/instances/{id}/")["instances"] or {})


def until(look: Callable[[], Any], seconds: float = 10) -> Any:
    limit = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < limit
        time.sleep(0.05)
    return found


def rent(simulated: Simulated, offer: dict[str, Any], **more: Any) -> int:
    made = call(simulated, "PUT", f"/asks/{offer['id']}/", {"image": "ubuntu", "disk": 10, **more})
    assert made["success"], made
    return int(made["new_contract"])


def running(simulated: Simulated, id: int) -> bool:
    return show(simulated, id)["actual_status"] == "running"


def test_a_higher_bid_interrupts_and_a_raised_one_resumes(simulated: Simulated) -> None:
    offer = offers(simulated, "bid")[0]
    assert offer["is_bid"] and offer["dph_base"] == offer["min_bid"]
    mine = rent(simulated, offer, price=offer["min_bid"])
    until(lambda: running(simulated, mine))
    assert show(simulated, mine)["dph_base"] == offer["min_bid"]
    now = next(o for o in offers(simulated, "bid") if o["id"] == offer["id"])
    assert now["min_bid"] > offer["min_bid"]

    other = rent(simulated, offer, price=now["min_bid"])
    row = show(simulated, mine)
    assert (row["actual_status"], row["intended_status"], row["cur_state"]) == ("exited", "running", "stopped")
    assert "ports" not in row

    # With the GPU free again it runs by itself.
    call(simulated, "DELETE", f"/instances/{other}/")
    until(lambda: running(simulated, mine))


def test_the_market_moves_and_a_changed_bid_wins(simulated: Simulated) -> None:
    offer = offers(simulated, "bid")[1]
    mine = rent(simulated, offer, price=offer["min_bid"])
    until(lambda: running(simulated, mine))
    simulated.control("PUT", f"/hosts/{offer['machine_id']}/min-bid", {"usd": offer["min_bid"] * 2})
    assert show(simulated, mine)["actual_status"] == "exited"
    low = call(simulated, "PUT", f"/instances/bid_price/{mine}/", {"client_id": "me", "price": 0.0001})
    assert low["msg"].startswith("Please set a bid price")
    call(simulated, "PUT", f"/instances/bid_price/{mine}/", {"client_id": "me", "price": offer["min_bid"] * 2.1})
    until(lambda: running(simulated, mine))


def test_a_bid_too_low_leaves_a_stopped_machine_that_is_billed(simulated: Simulated) -> None:
    offer = offers(simulated, "bid")[0]
    said = call(simulated, "PUT", f"/asks/{offer['id']}/", {"image": "x", "disk": 10, "price": 0.002})
    assert said["success"] is False and said["error"] == "invalid_price"
    assert show(simulated, said["new_contract"])["actual_status"] == "stopped"
    until(lambda: any(b["id"] == said["new_contract"] and float(b["usd_storage"]) > 0
                      for b in simulated.control("GET", "/bills")))  # fmt: skip


def test_a_stopped_machine_loses_its_gpu_and_a_start_is_queued(simulated: Simulated) -> None:
    offer = offers(simulated)[0]
    mine = rent(simulated, offer)
    until(lambda: running(simulated, mine))
    call(simulated, "PUT", f"/instances/{mine}/", {"state": "stopped"})
    other = rent(simulated, offer)
    answer = call(simulated, "PUT", f"/instances/{mine}/", {"state": "running"})
    assert answer["success"] is False and "queued" in answer["msg"]
    assert show(simulated, mine)["intended_status"] == "running"
    call(simulated, "DELETE", f"/instances/{other}/")
    # It starts, and is billed, by itself.
    until(lambda: running(simulated, mine))


def test_many_at_once(simulated: Simulated) -> None:
    first, second = offers(simulated)[:2]
    made = call(simulated, "POST", "/asks/bulk/", {"image": "x", "disk": 10, "ids": [first["id"], second["id"], 1]})
    ids = list(made["new_contracts"].values())
    assert len(ids) == 2 and list(made["errors"]) == ["1"]
    until(lambda: all(running(simulated, id) for id in ids))
    call(simulated, "PUT", "/instances/", {"ids": ids, "state": "stopped"})
    assert {show(simulated, id)["actual_status"] for id in ids} == {"exited"}
    call(simulated, "DELETE", "/instances/", {"instance_ids": ids})
    until(lambda: not any(show(simulated, id) for id in ids))


def test_logs_and_commands_answer_with_an_address(simulated: Simulated) -> None:
    id = rent(simulated, offers(simulated)[0], onstart="echo hello; echo world; touch kept; sleep 60")
    until(lambda: running(simulated, id))

    def said() -> str:
        asked = call(simulated, "PUT", f"/instances/request_logs/{id}/", {"filter": "wor"})
        return httpx.get(asked["result_url"]).text.strip()

    assert until(said) == "world"
    done = call(simulated, "PUT", f"/instances/command/{id}/", {"command": "ls"})
    assert httpx.get(done["result_url"]).text == "kept\n"
    assert call(simulated, "PUT", f"/instances/command/{id}/", {"command": "cat kept"})["error"] == "invalid_args"
    call(simulated, "PUT", f"/instances/recycle/{id}/", {})
    until(lambda: running(simulated, id))


def test_account_keys_open_new_machines_and_attached_keys_old_ones(simulated: Simulated) -> None:
    first, second = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    public = [key.export_public_key().decode().strip() for key in (first, second)]
    added = call(simulated, "POST", "/ssh/", {"ssh_key": public[0]})["key"]
    assert added["public_key"] == public[0]
    assert [row["key"] for row in call(simulated, "GET", "/ssh/")] == [public[0]]
    id = rent(simulated, offers(simulated)[0])
    until(lambda: running(simulated, id))
    call(simulated, "POST", f"/instances/{id}/ssh/", {"ssh_key": public[1]})
    attached = json.loads(call(simulated, "GET", f"/instances/{id}/ssh/")["ssh_keys"])
    assert [row["public_key"] for row in attached] == public

    home = next(m["home"] for m in simulated.control("GET", "/machines") if m["id"] == id)
    file = Path(home) / ".ssh" / "authorized_keys"
    assert file.read_text().split("\n")[:2] == public
    call(simulated, "DELETE", f"/instances/{id}/ssh/{attached[0]['id']}/")
    assert file.read_text().split("\n")[:1] == public[1:]
    call(simulated, "DELETE", f"/ssh/{added['id']}/")
    assert call(simulated, "GET", "/ssh/")["error"] == "not_found"


class Listener:
    """A receiver of webhooks that refuses the first delivery of each event."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                listener.got.append((dict(self.headers), body))
                self.send_response(503 if self.headers["X-Vast-Delivery-Attempt"] == "1" else 204)
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"


def test_events_are_posted_signed_and_again_until_taken(simulated: Simulated) -> None:
    listener = Listener()
    events = ["client:instance_started", "client:outbid"]
    made = call(simulated, "POST", "/webhooks/", {"webhook_url": listener.url, "event_types": events})["webhook"]
    assert "webhook_secret" not in call(simulated, "GET", "/webhooks/")["webhooks"][0]
    offer = offers(simulated, "bid")[0]
    id = rent(simulated, offer, price=offer["min_bid"])
    until(lambda: running(simulated, id))
    simulated.control("POST", f"/machines/{id}/outbid")
    until(lambda: len(listener.got) >= 4)
    listener.server.shutdown()

    seen: dict[str, list[str]] = {}
    for headers, body in listener.got:
        signed = headers["X-Vast-Timestamp"].encode() + b"." + body
        expected = hmac.new(made["webhook_secret"].encode(), signed, hashlib.sha256).hexdigest()
        assert headers["X-Vast-Signature-256"] == f"sha256={expected}"
        event = json.loads(body)
        assert event["event_id"] == headers["X-Vast-Event-Id"] and event["data"] == {"instance_id": id}
        seen.setdefault(event["notif_type"], []).append(headers["X-Vast-Delivery-Attempt"])
    assert seen == {"instance_started": ["1", "2"], "outbid": ["1", "2"]}
    refused = call(simulated, "POST", "/webhooks/", {"webhook_url": "http://example.com/", "event_types": events})
    assert refused["error"] == "invalid_args"
    call(simulated, "DELETE", f"/webhooks/{made['id']}/")


def test_the_end_of_a_host_is_told_too(simulated: Simulated) -> None:
    listener = Listener()
    body = {"webhook_url": listener.url, "event_types": ["client:instance_offline"]}
    made = call(simulated, "POST", "/webhooks/", body)["webhook"]
    id = rent(simulated, offers(simulated)[0])
    until(lambda: running(simulated, id))
    simulated.control("POST", f"/machines/{id}/kill")
    assert show(simulated, id)["actual_status"] == "offline"
    until(lambda: listener.got)
    listener.server.shutdown()
    assert json.loads(listener.got[0][1])["notif_type"] == "instance_offline"
    call(simulated, "DELETE", f"/webhooks/{made['id']}/")


def test_the_days_searches_come_to_an_end(tmp_path: Path) -> None:
    with simulators(tmp_path, searches_a_day=2) as limited:
        offers(limited), offers(limited)
        url = f"{limited.vast_url}/api/v0/bundles/"
        late = httpx.post(url, json={}, headers={"Authorization": f"Bearer {VAST_KEY}"})
        assert late.status_code == 429 and late.json()["error"] == "search_quota_exceeded"
        assert float(late.headers["X-RateLimit-Reset"]) > time.time()


def test_the_vendors_library_lives_a_whole_life(simulated: Simulated) -> None:
    from vastai.data.instance import InstanceConfig
    from vastai.sync import SyncClient  # type: ignore[import-untyped]

    client = SyncClient(api_key=VAST_KEY, vast_server=simulated.vast_url)
    offer = offers(simulated)[0]
    made = client.create_instance(offer["id"], InstanceConfig(image="ubuntu:22.04", disk=16, label="by-library"))
    assert made.label == "by-library" and made.machine_id == offer["machine_id"]
    until(lambda: [i.actual_status for i in client.show_instances() if i.id == made.id] == ["running"])
    client.destroy_instance(made.id)
    until(lambda: made.id not in [i.id for i in client.show_instances()])


def test_the_vendors_command_line_bids_and_reads_logs(simulated: Simulated, tmp_path: Path) -> None:
    def run(*words: str) -> str:
        done = subprocess.run(
            [str(Path(sys.executable).with_name("vastai")), *words, "--url", simulated.vast_url, "--api-key", VAST_KEY],
            capture_output=True, text=True, timeout=60,
            env={**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "VASTAI_NO_UPDATE_CHECK": "1",
                 "VAST_URL": simulated.vast_url},
        )  # fmt: skip
        return done.stdout + done.stderr

    offer = offers(simulated, "bid")[0]
    id = rent(simulated, offer, price=offer["min_bid"], onstart="echo said-by-the-container")
    until(lambda: running(simulated, id))
    assert "said-by-the-container" in run("logs", str(id))
    run("change", "bid", str(id), "--price", "0.9")
    assert show(simulated, id)["dph_base"] == 0.9
    run("reboot", "instance", str(id))
    assert running(simulated, id)
