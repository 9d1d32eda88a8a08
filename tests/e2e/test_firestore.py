"""The main job on Google's Firestore emulator. The whole of these tests runs on it with STORE=firestore."""

from __future__ import annotations

import os
import warnings

import pytest

from local import emulator
from local.embedded import running
from tests.e2e.conftest import ApiClient, GpuInstance, check_ledger

pytestmark = pytest.mark.skipif(
    "DUMONT_API_URL" in os.environ or os.environ.get("STORE") == "firestore", reason="the others run on Firestore"
)


def test_an_instance_runs_sleeps_wakes_with_its_files_and_ends_on_firestore() -> None:
    if emulator.find_jar() is None:
        why = "Java or Google's emulator is missing: gcloud components install cloud-firestore-emulator"
        warnings.warn(f"NOTHING was tried on Firestore: {why}", stacklevel=1)
        pytest.skip(why)
    with running(store="firestore") as cloud:
        api = ApiClient(cloud.state["api_url"], cloud.state["demo"]["api_key"], "RTX 4090")
        view = api.call("POST", "/instances/provision?wait=50", {"gpu_name": api.gpu})
        instance = GpuInstance(api, api.until(view["id"], "running"))
        assert instance.run_command('echo kept > "$WORKSPACE/note"').exit_code == 0
        api.call("POST", f"/instances/{instance.id}/hibernate?wait=50")
        assert api.until(instance.id, "hibernated")["machine"] is None
        api.call("POST", f"/instances/{instance.id}/wake?wait=50")
        api.until(instance.id, "running")

        assert instance.run_command('cat "$WORKSPACE/note"').stdout == "kept\n"
        api.call("DELETE", f"/instances/{instance.id}/destroy?wait=50")
        api.until(instance.id, "destroyed")
        assert cloud.state["store"].startswith("firestore:")
        check_ledger(cloud)
