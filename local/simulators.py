"""The simulated market as one process: Vast.ai's API on one port, the control API on another.

python -m local.simulators --state-dir DIR --port P --control-port Q --scenario FILE --api-key KEY
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from aiohttp import web

from local import control, vast_api
from local.scenario import load


async def serve(given: argparse.Namespace) -> None:
    given.state_dir.mkdir(parents=True, exist_ok=True)
    vast = vast_api.Vast(load(given.scenario), given.state_dir, given.api_key)
    await vast.restore()
    runners = []
    for app, port in ((vast_api.application(vast), given.port), (control.application(vast), given.control_port)):
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
    vast.shut_down()
    for runner in runners:
        await runner.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--control-port", type=int, required=True)
    parser.add_argument("--scenario", type=Path, required=True)
    parser.add_argument("--api-key", default="vast-demo-key")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
