#!/usr/bin/env bash
# Debian packages that are missing: installed when that is allowed, named when it is not.
#   infra/packages.sh COMMAND:PACKAGE...
set -euo pipefail
missing=()
for pair in "$@"; do
  command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
done
[ ${#missing[@]} = 0 ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
else
  echo "these packages are missing; install them and try again: ${missing[*]}" >&2
  exit 1
fi
