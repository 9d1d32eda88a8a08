"""One story per promise, on the local cloud: no leak, no lost file, ready fast."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from local.embedded import ROOT, Embedded
from tests.e2e.conftest import ApiClient, ApiError, GpuInstance, Terminal


def eventually(check: Callable[[], Any], patience_s: float = 60) -> Any:
    """What `check` gives once it gives something."""
    until = time.monotonic() + patience_s
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.1)


def provision(api: ApiClient, **request: Any) -> dict[str, Any]:
    body = {"gpu_name": api.gpu, **request}
    found: dict[str, Any] = api.call("POST", "/instances/provision", body, **{"Idempotency-Key": uuid.uuid4().hex})
    return found


def destroy(api: ApiClient, instance: str) -> None:
    api.call("DELETE", f"/instances/{instance}/destroy?wait=50")
    api.until(instance, "destroyed")


def machines_of(local: Embedded, instance: dict[str, Any]) -> list[dict[str, Any]]:
    labels = {f"dumont-{a['id']}" for a in instance["attempts"]}
    return [m for m in local.control("GET", "/machines") if m["label"] in labels]


def test_a_race_of_five_leaves_four_confirmed_receipts(local: Embedded, gpu_instance: GpuInstance) -> None:
    def settled() -> dict[str, Any] | None:
        view: dict[str, Any] = gpu_instance.api.call("GET", f"/instances/{gpu_instance.id}")
        losers = [a for a in view["attempts"] if a["outcome"] == "cancelled"]
        return view if len(losers) >= 4 and all((a["receipt"] or {}).get("confirmed_at") for a in losers) else None

    view = eventually(settled)

    assert len(machines_of(local, view)) == 1
    clocks = view["clocks"]
    noticed = datetime.fromisoformat(clocks["usable_at"]) - datetime.fromisoformat(clocks["ready_reported_at"])
    assert noticed.total_seconds() < 2


def test_a_create_whose_answer_is_lost_leads_to_one_adopted_machine(api_client: ApiClient, local: Embedded) -> None:
    local.control("POST", "/faults", {"endpoint": "create", "kind": "drop_after", "count": 1})
    before = len(local.control("GET", "/bills"))

    view = provision(api_client, width=1)
    view = api_client.until(view["id"], "running")

    assert len(machines_of(local, view)) == 1
    assert len(local.control("GET", "/bills")) == before + 1
    destroy(api_client, view["id"])


def test_one_trace_finds_all_that_a_request_led_to(api_client: ApiClient, local: Embedded) -> None:
    asked, worked, slept = (uuid.uuid4().hex for _ in range(3))

    def bearing(trace: str) -> dict[str, str]:
        return {"traceparent": f"00-{trace}-{'a' * 16}-01"}

    def found(trace: str, place: str, *parts: str) -> None:
        """Each part on a line that names the trace; machines and functions may write theirs a moment later."""
        until = time.monotonic() + 10
        while True:
            lines = [
                line for file in local.folder.glob(place) for line in file.read_text().splitlines() if trace in line
            ]
            missing = [part for part in parts if not any(part in line for line in lines)]
            if not missing:
                return
            assert time.monotonic() < until, (missing, lines)
            time.sleep(0.1)

    view = api_client.call(
        "POST", "/instances/provision?wait=0", {"gpu_name": api_client.gpu, "width": 1}, **bearing(asked)
    )
    api_client.until(view["id"], "running")
    asking = ("POST /api/v1/instances/provision 201", "vast PUT /api/v0/asks/", "POST /api/v1/agent/register 200")
    found(asked, "logs/fn-*.log", *asking)
    found(asked, "market/machines/*/logs/onstart.log", "adopted by instance")
    command = {"command": ["true"], "timeout_s": 20}
    api_client.call("POST", f"/instances/{view['id']}/exec?wait=20", command, **bearing(worked))
    found(worked, "logs/fn-*.log", "/exec 200", "POST /api/v1/agent/results 200")
    found(worked, "market/machines/*/logs/onstart.log", "begins: exec", "ends: done")

    api_client.call("POST", f"/instances/{view['id']}/hibernate?wait=0", **bearing(slept))
    api_client.until(view["id"], "hibernated")
    found(
        slept, "logs/fn-*.log", "/hibernate 200", "POST /api/v1/agent/snapshots 200", "vast DELETE /api/v0/instances/"
    )
    destroy(api_client, view["id"])


def test_an_idle_instance_hibernates_by_itself_and_wakes_with_its_files_on_another_host(
    api_client: ApiClient, local: Embedded
) -> None:
    view = provision(api_client, idle_policy={"idle_after_s": 3, "startup_grace_s": 1})
    view = api_client.until(view["id"], "running")
    instance = GpuInstance(api_client, view)
    machine = int(view["machine"]["machine_id"])
    local.control("PUT", f"/machines/{machine}/load", {"gpu": 90})
    instance.run_command('echo precious > "$WORKSPACE/work"')
    adopted = next(a for a in view["attempts"] if a["stage"] == "adopted")
    local.control("POST", f"/hosts/{adopted['offer_machine_id']}/sell-out")

    local.control("PUT", f"/machines/{machine}/load", {"gpu": 0})
    asleep = api_client.until(view["id"], "hibernated")
    assert asleep["machine"] is None
    events = api_client.call("GET", f"/instances/{view['id']}/events")["events"]
    assert any(e["kind"] == "hibernating" and "idle since" in e["message"] for e in events)

    api_client.call("PATCH", f"/instances/{view['id']}", {"idle_policy": {"enabled": False}})
    api_client.call("POST", f"/instances/{view['id']}/wake")
    woken = api_client.until(view["id"], "running")
    assert woken["machine"]["host_id"] != view["machine"]["host_id"]
    assert instance.run_command('cat "$WORKSPACE/work"').stdout == "precious\n"
    destroy(api_client, view["id"])
    assert not [key for key in local.objects() if view["id"] in key]
    local.control("POST", f"/hosts/{adopted['offer_machine_id']}/restock")


def test_a_wrong_image_or_price_is_told_before_anything_is_rented(api_client: ApiClient, local: Embedded) -> None:
    before = len(local.control("GET", "/bills"))

    with pytest.raises(ApiError) as caught:
        provision(api_client, max_usd_per_hour="0.001")

    assert caught.value.status == 507 and "nearest" in str(caught.value)
    assert len(local.control("GET", "/bills")) == before


def test_an_agent_that_is_restarted_goes_on(local: Embedded, gpu_instance: GpuInstance) -> None:
    gpu_instance.run_command('echo kept > "$WORKSPACE/kept"')

    local.control("POST", f"/machines/{gpu_instance.view['machine']['machine_id']}/agent-restart")

    assert gpu_instance.run_command('cat "$WORKSPACE/kept"').stdout == "kept\n"


def test_ssh_works_with_the_users_key_and_with_no_other(api_client: ApiClient, local: Embedded, tmp_path: Path) -> None:
    for name in ("mine", "other"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)
    api_client.call("PUT", "/auth/ssh-keys", {"ssh_keys": [(tmp_path / "mine.pub").read_text().strip()]})
    view = api_client.until(provision(api_client)["id"], "running")

    def address() -> dict[str, Any] | None:
        machine: dict[str, Any] = api_client.call("GET", f"/instances/{view['id']}")["machine"]
        return machine if machine["ssh_port"] else None

    machine = eventually(address)

    def ssh(key: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                "ssh", "-i", str(tmp_path / key), "-p", str(machine["ssh_port"]), "-o", "StrictHostKeyChecking=no",
                "-o", "UserKnownHostsFile=/dev/null", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
                f"root@{machine['ssh_host']}", "echo over ssh",
            ],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    eventually(lambda: ssh("mine").stdout == "over ssh\n")
    assert ssh("other").returncode != 0
    api_client.call("PUT", "/auth/ssh-keys", {"ssh_keys": []})
    destroy(api_client, view["id"])


def test_a_host_that_dies_without_a_snapshot_is_told_and_costs_nothing(api_client: ApiClient, local: Embedded) -> None:
    view = api_client.until(provision(api_client)["id"], "running")
    local.control("POST", f"/machines/{view['machine']['machine_id']}/kill")

    def told() -> str | None:
        failure: str | None = api_client.call("GET", f"/instances/{view['id']}")["failure"]
        return failure

    failure = eventually(told)

    assert "silent" in failure
    destroy(api_client, view["id"])
    assert not machines_of(local, api_client.call("GET", f"/instances/{view['id']}"))


def test_the_agents_machine_holds_no_credential_but_its_token(local: Embedded, gpu_instance: GpuInstance) -> None:
    s3 = local.state["s3"]
    secrets = [s3["access_key"], s3["secret_key"], local.state["vast_api_key"], local.state["demo"]["api_key"]]

    environment = gpu_instance.run_command("env; cat /proc/$PPID/cmdline").stdout
    files = gpu_instance.run_command('cat "$HOME"/.dumont/* 2>/dev/null | tr -d "\\0"').stdout
    mode = gpu_instance.run_command('stat -c %a "$HOME/.dumont/token"').stdout.strip()

    assert mode == "600"
    for secret in secrets:
        assert secret not in environment and secret not in files
    assert "DUMONT_TOKEN" not in environment


# The command line ---------------------------------------------------------------------------------------------------


def test_the_main_job_from_the_command_line(dumont: Terminal, tmp_path: Path) -> None:
    assert "demo@dumont.local" in dumont("whoami")
    out = dumont("provision", "--gpu", "RTX 4090", "--name", "from-cli")
    assert "from-cli" in out and "runs on" in out and "WINNER" in out
    assert "from-cli" in dumont("ls")
    assert "RTX 4090" in dumont("show", "from-cli")
    assert "CUDA" in dumont("exec", "from-cli", "--", "nvidia-smi")
    dumont("exec", "from-cli", "--", "sh", "-c", "exit 9", expect=9)
    assert "hello" in dumont("exec", "from-cli", "-i", "--", "cat", stdin="hello")
    dumont("keep-awake", "from-cli", "1h")
    assert json.loads(dumont("--json", "show", "from-cli"))["keep_awake_until"]
    assert "hibernated" in dumont("hibernate", "from-cli")
    assert "from-cli" in dumont("ls") and "hibernated" in dumont("show", "from-cli")
    assert re.search(r"s-[0-9a-f]{16}", dumont("snapshots", "ls", "from-cli"))
    assert "usable" in dumont("wake", "from-cli")
    events = json.loads(dumont("--json", "events", "from-cli"))["events"]
    assert {"provisioning", "running", "hibernated", "waking"} <= {e["kind"] for e in events}
    dumont("destroy", "from-cli", "--yes")
    assert "from-cli" not in dumont("ls")
    dumont("logout")
    dumont("ls", expect=3)


def test_mistakes_are_told_with_a_way_out_and_their_exit_code(dumont: Terminal) -> None:
    assert "no instance" in dumont("show", "nothing-here", expect=4)
    assert "--max-price" in dumont("provision", "--gpu", "RTX 4090", "--max-price", "0.001", expect=6)
    assert "Usage" in dumont("provision", "--nonsense", expect=2)
    error = json.loads(dumont("--json", "show", "nothing-here", expect=4).splitlines()[-1])
    assert error["error"]["code"] == "not_found"


def test_users_are_created_by_an_administrator(dumont: Terminal, local: Embedded, tmp_path: Path) -> None:
    email = f"{uuid.uuid4().hex[:8]}@example.com"
    assert email in dumont("admin", "create-user", email, "--password-stdin", stdin="a long enough password\n")
    (tmp_path / "other").mkdir()
    other = Terminal(local, tmp_path / "other")
    other("login", "--email", email, "--password", "a long enough password")
    assert "demo" not in other("ls")
    other("admin", "create-user", "x@example.com", "--password-stdin", stdin="a long enough password\n", expect=3)


# The vendor's own command line --------------------------------------------------------------------------------------


def test_vastais_own_command_line_works_against_the_simulated_market(local: Embedded, tmp_path: Path) -> None:
    vastai = str(Path(sys.executable).with_name("vastai"))

    def run(*words: str) -> Any:
        done = subprocess.run(
            [vastai, *words, "--url", local.state["vast_url"], "--api-key", local.state["vast_api_key"], "--raw"],
            capture_output=True, text=True, timeout=60,
            env={**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr + done.stdout
        return json.loads(done.stdout) if done.stdout.strip().startswith(("{", "[")) else done.stdout

    offers = run("search", "offers", "gpu_name=RTX_3090 num_gpus=1 reliability>0.9", "-o", "dph")
    assert offers and {o["gpu_name"] for o in offers} == {"RTX 3090"}
    assert [o["dph_total"] for o in offers] == sorted(o["dph_total"] for o in offers)

    made = run("create", "instance", str(offers[0]["id"]), "--image", "ubuntu:22.04", "--disk", "20", "--ssh")
    id = str(made["new_contract"])
    time.sleep(0.5)
    assert run("show", "instance", id)["id"] == int(id)
    assert int(id) in [row["id"] for row in run("show", "instances")]
    run("label", "instance", id, "by-hand")
    assert eventually(lambda: run("show", "instance", id)["label"]) == "by-hand"
    eventually(lambda: run("show", "instance", id)["actual_status"] == "running" or time.sleep(0.5))
    run("stop", "instance", id)
    eventually(lambda: run("show", "instance", id)["actual_status"] == "exited" or time.sleep(0.5))
    run("start", "instance", id)
    eventually(lambda: run("show", "instance", id)["actual_status"] == "running" or time.sleep(0.5))
    run("destroy", "instance", id, "-y")
    eventually(lambda: int(id) not in [row["id"] for row in run("show", "instances")])


def test_files_come_back_without_any_control_plane(local: Embedded, api_client: ApiClient, tmp_path: Path) -> None:
    instance = api_client.until(provision(api_client)["id"], "running")
    GpuInstance(api_client, instance).run_command("mkdir -p src && echo kept > src/note")
    api_client.call("POST", f"/instances/{instance['id']}/hibernate?wait=0")
    api_client.until(instance["id"], "hibernated")
    recovery = api_client.call("GET", f"/instances/{instance['id']}/recovery")
    (tmp_path / "key").write_text(recovery["key"])
    s3 = local.state["s3"]

    done = subprocess.run(
        [sys.executable, "-m", "agent.snapshot", "restore", "--store", recovery["store"], "--endpoint", recovery["endpoint"],
         "--key-file", str(tmp_path / "key"), "--to", str(tmp_path / "files")],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
        env={**os.environ, "AWS_ACCESS_KEY_ID": s3["access_key"], "AWS_SECRET_ACCESS_KEY": s3["secret_key"]},
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "files/workspace/src/note").read_text() == "kept\n"
    destroy(api_client, instance["id"])
    with pytest.raises(ApiError):
        api_client.call("GET", f"/instances/{instance['id']}/recovery")


def test_the_market_is_sampled_and_the_ledger_has_every_machine(local: Embedded, api_client: ApiClient) -> None:
    instance = api_client.until(provision(api_client)["id"], "running")
    rows = eventually(
        lambda: [r for r in api_client.call("GET", "/usage/ledger")["rows"] if r["instance_id"] == instance["id"]]
    )
    assert {r["attempt_id"] for r in rows} <= {a["id"] for a in instance["attempts"]}
    watched = api_client.call("GET", "/spot/market?gpu_name=L4")["watched"]
    seen = eventually(
        lambda: [g for g in watched if api_client.call("GET", f"/spot/market?gpu_name={g.replace(' ', '%20')}")["now"]]
    )
    assert seen
    destroy(api_client, instance["id"])


def test_an_outbid_machine_is_replaced_and_its_files_are_there(local: Embedded, api_client: ApiClient) -> None:
    body = {"interruptible": True, "snapshot_every_s": 1, "bid_headroom": 0.2, "width": 2}
    instance = api_client.until(provision(api_client, **body)["id"], "running")
    machine = instance["machine"]
    GpuInstance(api_client, instance).run_command("echo kept > note")
    path = f"/instances/{instance['id']}/snapshots"
    eventually(
        lambda: [s for s in api_client.call("GET", path)["snapshots"] if s["state"] == "verified" and s["files"]]
    )

    local.control("POST", f"/machines/{machine['machine_id']}/outbid")
    eventually(lambda: api_client.call("GET", f"/instances/{instance['id']}")["state"] != "running")
    again = api_client.until(instance["id"], "running")

    assert again["machine"]["machine_id"] != machine["machine_id"]
    assert GpuInstance(api_client, again).run_command("cat note").stdout == "kept\n"
    events = api_client.call("GET", f"/instances/{instance['id']}/events")["events"]
    assert any("another's bid was higher" in event["message"] for event in events)
    destroy(api_client, instance["id"])


def test_old_snapshots_go_by_their_rules_and_what_stays_is_restored(local: Embedded, api_client: ApiClient) -> None:
    instance = api_client.until(provision(api_client)["id"], "running")
    machine, path = GpuInstance(api_client, instance), f"/instances/{instance['id']}/snapshots"
    taken = []
    for number in range(3):
        machine.run_command(f"echo {number} > note; head -c 300000 /dev/urandom > noise")
        taken.append(api_client.call("POST", f"{path}?wait=50")["id"])
    api_client.call("PATCH", f"{path}/{taken[0]}", {"pinned": True})
    with pytest.raises(ApiError):
        api_client.call("DELETE", f"{path}/{taken[2]}")
    rules = {"last": 1, "hourly": 0, "daily": 0, "weekly": 0}
    api_client.call("PATCH", f"/instances/{instance['id']}", {"retention": rules})

    left = eventually(lambda: (f := api_client.call("GET", path)["snapshots"]) and len(f) == 2 and f)
    assert [(one["id"], one["kept"]) for one in left] == [(taken[2], "the newest"), (taken[0], "pinned")]
    api_client.call("POST", f"/instances/{instance['id']}/hibernate?wait=50")
    api_client.until(instance["id"], "hibernated")
    api_client.call("POST", f"/instances/{instance['id']}/wake")
    api_client.until(instance["id"], "running")
    assert machine.run_command("cat note; wc -c < noise").stdout == "2\n300000\n"
    destroy(api_client, instance["id"])
