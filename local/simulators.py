"""The simulated markets as one process: each provider's API on a port of its own, the control API on another.

python -m local.simulators --state-dir DIR --vast-port P --tensordock-port T --gce-port G --control-port Q --scenario FILE
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from aiohttp import web

from local import control, gce_api, tensordock_api, vast_api, vast_market
from local.scenario import load


async def serve(given: argparse.Namespace) -> None:
    given.state_dir.mkdir(parents=True, exist_ok=True)
    scenario = load(given.scenario)
    vast = vast_market.Vast(scenario, given.state_dir, given.api_key)
    tensordock = tensordock_api.TensorDock(scenario, given.state_dir, given.tensordock_token)
    gce = gce_api.Gce(scenario, given.state_dir)
    runners = []
    for market in (vast, tensordock, gce):
        await market.restore()
    for app, port in (
        (vast_api.application(vast), given.vast_port),
        (tensordock_api.application(tensordock), given.tensordock_port),
        (gce_api.application(gce), given.gce_port),
        (control.application(vast, tensordock, gce), given.control_port),
    ):
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        runners.append(runner)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await stop.wait()
    for market in (vast, tensordock, gce):
        market.shut_down()
    for runner in runners:
        await runner.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--vast-port", type=int, required=True)
    parser.add_argument("--tensordock-port", type=int, required=True)
    parser.add_argument("--gce-port", type=int, required=True)
    parser.add_argument("--control-port", type=int, required=True)
    parser.add_argument("--scenario", type=Path, required=True)
    parser.add_argument("--api-key", default="vast-demo-key")
    parser.add_argument("--tensordock-token", default="tensordock-demo-token")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
