# make up · make test · make check · make smoke · make bench NAME=x
SHELL := /bin/bash
PY := .venv/bin/python
NAME ?=
ARGS ?=

.PHONY: setup up test check smoke bench docs clean

setup: .venv/.ready

.venv/.ready: requirements.txt requirements-dev.txt
	@command -v python3 >/dev/null || { echo "python3 (3.11 or newer) is needed: apt-get install python3 python3-venv"; exit 1; }
	@test -x $(PY) || python3 -m venv .venv || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -q && apt-get install -y -q python3-venv && python3 -m venv .venv; \
	  else echo "python3-venv is missing; install it with your package manager"; exit 1; fi; }
	$(PY) -m pip install -q --disable-pip-version-check -r requirements-dev.txt
	@touch $@

up: setup
	@exec $(PY) -m local.up --port 8700 $(if $(STORE),--store $(STORE)) $(ARGS)

test: setup
	@infra/packages.sh ssh:openssh-client ssh-keygen:openssh-client
	$(PY) -m pytest $(ARGS)

check: setup
	@$(PY) -m bench.check

smoke: setup
	@$(PY) -m bench.run smoke $(NAME)

bench: setup
	@$(PY) -m bench.run bench $(NAME)

docs: setup
	@$(PY) -m infra.openapi
	@$(PY) -m infra.indexes
	@$(PY) -m infra.lifecycle
	@$(PY) -m infra.env_example
	@$(PY) -m cli.docs

clean:
	rm -rf build .pytest_cache .mypy_cache .ruff_cache bench/results
