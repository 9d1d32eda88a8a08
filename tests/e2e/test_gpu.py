"""What works on a rented machine. The same tests run against a real deployment (see conftest.py; costs money)."""

from __future__ import annotations

from tests.e2e.conftest import GpuInstance


def test_the_gpu_is_there(gpu_instance: GpuInstance) -> None:
    result = gpu_instance.run_command("nvidia-smi")

    assert "CUDA" in result


def test_commands_say_how_they_went(gpu_instance: GpuInstance) -> None:
    result = gpu_instance.run_command("echo to stdout; echo to stderr >&2; exit 7")

    assert (result.stdout, result.stderr, result.exit_code) == ("to stdout\n", "to stderr\n", 7)


def test_files_are_there_after_hibernation_and_wake(gpu_instance: GpuInstance) -> None:
    api = gpu_instance.api
    gpu_instance.run_command('mkdir -p "$WORKSPACE/data" && head -c 3000000 /dev/urandom > "$WORKSPACE/data/weights"')
    before = gpu_instance.run_command('sha256sum < "$WORKSPACE/data/weights"').stdout

    api.call("POST", f"/instances/{gpu_instance.id}/hibernate")
    asleep = api.until(gpu_instance.id, "hibernated")
    assert asleep["machine"] is None and asleep["snapshot_id"]
    api.call("POST", f"/instances/{gpu_instance.id}/wake")
    api.until(gpu_instance.id, "running")

    assert gpu_instance.run_command('sha256sum < "$WORKSPACE/data/weights"').stdout == before
