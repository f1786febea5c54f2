# `make test` and `make search` need nothing but Python 3.11 or newer: they make the virtual environment that they run in.
#   PYTHON=python3.13   the interpreter; by default the first of PYTHONS that runs and is new enough
#   ARGS='...'          more arguments for the command
# `make browser` installs the system's Chromium, in which the tests open HTML pages; without one these are skipped.
# `make bench` measures against PyTorch, in an environment of its own, and writes records to RESULTS.

VENV := .venv
ARGS :=
RESULTS := benchmarks/results
PYTHONS := python3 python3.13 python3.12 python3.11
# Asked of the interpreter itself, since a name on the PATH may be a shim that runs nothing.
VERSION_OF := -c 'import sys; sys.exit(1) if sys.version_info < (3, 11) else print("%d.%d.%d" % sys.version_info[:3])'

ifndef PYTHON
PYTHON := $(shell for python in $(PYTHONS); do $$python $(VERSION_OF) >/dev/null 2>&1 && echo $$python && break; done)
NO_PYTHON := none of $(PYTHONS) runs and is Python 3.11 or newer; name one with PYTHON=...
else
NO_PYTHON := PYTHON=$(PYTHON) does not run or is older than Python 3.11
endif
VERSION := $(if $(PYTHON),$(shell $(PYTHON) $(VERSION_OF) 2>/dev/null))
# A Python newer than every file of constraints/ gets the newest releases.
CONSTRAINTS := $(wildcard constraints/$(basename $(VERSION)).txt)
INSTALLED := $(VENV)/installed-$(VERSION)
BENCH_VENV := .venv-bench
BENCH_INSTALLED := $(BENCH_VENV)/installed-$(VERSION)
CASES := darts darts-small nb201
# A process a core, each with whole files, whose tests share compiled functions.
PYTEST := $(VENV)/bin/python -m pytest -n logical --maxprocesses 8 --dist loadfile

.PHONY: search test slow lint docs bench browser venv clean

search: venv
	$(VENV)/bin/jaxnas search $(ARGS)

test: venv
	$(PYTEST) $(ARGS)

slow: venv
	$(PYTEST) -m slow $(ARGS)

lint: venv
	$(VENV)/bin/ruff check
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(VENV)/bin/pyright --pythonpath $(VENV)/bin/python

# A link without a target is an error.
docs: venv
	$(VENV)/bin/python -m sphinx -W --keep-going -q -b html docs docs/_build

# One after the other: they must not share the machine.
bench: $(BENCH_INSTALLED)
	for case in $(CASES); do \
	  $(BENCH_VENV)/bin/python -m benchmarks.search_step --case $$case --json $(RESULTS)/step-$$case.json $(ARGS) || exit 1; \
	  $(BENCH_VENV)/bin/python -m benchmarks.peer.forms --case $$case --json $(RESULTS)/peer_forms.json || exit 1; done

# For the tests of HTML pages; Debian's and Ubuntu's package.
browser:
	command -v chromium >/dev/null || { apt-get update -qq && apt-get install -y -qq chromium >/dev/null; }

venv: $(INSTALLED)

# Made anew whenever it is stale, so that it holds what is pinned and nothing else.
$(INSTALLED): pyproject.toml $(CONSTRAINTS)
	$(if $(VERSION),,$(error $(NO_PYTHON)))
	@echo "Installing jaxnas into $(VENV): Python $(VERSION), releases of $(or $(CONSTRAINTS),today). This takes a minute or two."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(VENV)/bin/python -m pip install -qq $(addprefix -c ,$(CONSTRAINTS)) -e '.[dev]'
	@touch $@

$(BENCH_INSTALLED): pyproject.toml benchmarks/requirements.txt $(CONSTRAINTS)
	$(if $(VERSION),,$(error $(NO_PYTHON)))
	@echo "Installing the benchmarks into $(BENCH_VENV): Python $(VERSION). PyTorch is large."
	@$(PYTHON) -m venv --clear $(BENCH_VENV)
	@$(BENCH_VENV)/bin/python -m pip install -qq $(addprefix -c ,$(CONSTRAINTS)) -r benchmarks/requirements.txt -e .
	@touch $@

clean:
	rm -rf .venv-bench .venv .venv-newest build dist .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +
