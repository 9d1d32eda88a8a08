# make up · make test · make check · make smoke · make bench NAME=x
SHELL := /bin/bash
PY := .venv/bin/python
NAME ?=
ARGS ?=
# Node may come from .venv, see infra/node.sh.
export PATH := $(PATH):$(CURDIR)/.venv/bin
NODE := frontend/node_modules/.ready
DIST := frontend/dist/.ready
SOURCES := $(shell find frontend/src frontend/public frontend/index.html frontend/vite.config.ts -type f 2>/dev/null)

.PHONY: setup console up test check smoke bench audit docs screenshots clean

setup: .venv/.ready

.venv/.ready: requirements.lock requirements-dev.txt
	@command -v python3 >/dev/null || { echo "python3 (3.11 or newer) is needed: apt-get install python3 python3-venv"; exit 1; }
	@test -x $(PY) || python3 -m venv .venv || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -q && apt-get install -y -q python3-venv && python3 -m venv .venv; \
	  else echo "python3-venv is missing; install it with your package manager"; exit 1; fi; }
	$(PY) -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	$(PY) -m pip install -q --disable-pip-version-check -r requirements-dev.txt
	@touch $@

$(NODE): .venv/.ready frontend/package-lock.json
	@infra/node.sh
	cd frontend && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

$(DIST): $(NODE) $(SOURCES)
	cd frontend && npm run --silent build -- --logLevel warn
	@touch $@

console: $(DIST)

up: setup console
	@exec $(PY) -m local.up --port 8700 $(if $(STORE),--store $(STORE)) $(ARGS)

# With ARGS, only pytest: make test ARGS="tests/unit -k lease".
test: setup $(if $(ARGS),,console)
	@infra/packages.sh ssh:openssh-client ssh-keygen:openssh-client
	$(PY) -m pytest $(ARGS)
ifeq ($(ARGS),)
	@infra/packages.sh chromium:chromium
	cd frontend && npm run --silent test
	$(PY) -m local.embedded sh -c 'npm --prefix frontend run --silent e2e && $(PY) -m bench.ledger'
endif

check: setup $(NODE)
	@$(PY) -m bench.check

smoke: setup
	@$(PY) -m bench.run smoke $(NAME)

bench: setup console
	@$(PY) -m bench.run bench $(NAME)

# Asks the package indexes what they know against what is installed.
audit: setup $(NODE)
	@$(PY) -m bench.audit

docs: setup $(NODE)
	@$(PY) -m infra.openapi
	@$(PY) -m infra.indexes
	@$(PY) -m infra.lifecycle
	@$(PY) -m infra.env_example
	@$(PY) -m infra.client
	@$(PY) -m infra.firebase
	@$(PY) -m cli.docs

# The README's pictures, of a local cloud.
screenshots: setup console
	@infra/packages.sh chromium:chromium
	@mkdir -p docs/images
	$(PY) -m local.embedded npm --prefix frontend run --silent e2e -- --config playwright.bench.config.ts tests/bench/pictures

clean:
	rm -rf build .pytest_cache .mypy_cache .ruff_cache bench/results frontend/dist
