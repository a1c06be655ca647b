# Two commands for a fresh machine: `make run` and `make test`.
# Everything is set up in .venv on first use; PYTHON chooses the interpreter it is made from. `make run` and
# `make chat` install what a chat needs; every other target adds the tools of development to it.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
CHAT   := $(VENV)/.installed-chat
ARGS   ?=
# Tests wait more than they compute: so one more at a time than there are cores. ARGS="-n 0" runs one at a time.
# What needs Locust, numpy or duckdb takes as long as all the rest: `make test-tools` runs it.
TOOLS  := tests/chat_bench tests/chat_ops tests/chat_swarm tests/e2e/swarm tests/e2e/test_logs_page.py
JOBS    = $(shell echo $$(( $$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1) + 1 )))
PYTEST  = $(BIN)/python -m pytest -n $(JOBS) --maxprocesses 8 --dist loadfile

.PHONY: run chat test test-tools test-goldens check bench bench-quick instructions swarm chaos fuzz lock format clean help

run: $(CHAT)  ## serve on 127.0.0.1:7072 (more flags: make run ARGS="--console")
	@exec $(BIN)/chat-server --workers 1 --port 7072 $(ARGS)

chat: $(CHAT)  ## chat in this terminal (more flags: make chat ARGS="--username ann")
	@exec $(BIN)/chat-client $(ARGS)

test: $(STAMP)  ## test the server and the client (ARGS="tests/chat_server/core -x" tests a part)
	$(PYTEST) $(if $(findstring tests/,$(ARGS)),,$(TOOLS:%=--ignore=%)) $(ARGS)

test-tools: $(STAMP)  ## test the swarm, the benches and the log analysis
	$(PYTEST) $(ARGS) $(TOOLS)

test-goldens: $(STAMP)  ## check what users rely on: options, exit codes, wire, old data files, the built wheel
	$(BIN)/python -m pytest $(ARGS) tests/goldens

check: $(STAMP)  ## lint, types, import arrows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy server client loadtest ops tests
	$(BIN)/lint-imports

bench: $(STAMP)  ## measure CPU per message and memory beside other servers (about five minutes)
	$(BIN)/python -m chat_bench $(ARGS)

bench-quick: $(STAMP)  ## the hot path in a minute, pinned (ARGS="--server ../old/.venv/bin/chat-server" compares)
	$(BIN)/python -m chat_bench.quick $(ARGS)

instructions: $(STAMP)  ## count the instructions of a message under valgrind (three minutes; ARGS="--server ../old")
	$(BIN)/python -m chat_bench.instructions $(ARGS)

swarm: $(STAMP)  ## load the server on 127.0.0.1:7072 with bots (docs/loadtest.md; ARGS="-u 5000 -r 500 -t 60s")
	@$(BIN)/locust -f loadtest/bots.py --headless --only-summary $(ARGS)

fuzz: $(STAMP)  ## look for bytes that break the codecs (30 s a target; ARGS="--seconds 300 detect plain_text")
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fuzz]' || { echo "make fuzz needs atheris, which cannot be installed for this Python. It has packages for Linux on x86-64: choose a Python that they are for (make clean; make PYTHON=python3.12 fuzz). make test holds the same properties without it."; exit 1; }
	@PYTHONPATH=tests $(BIN)/python -m fuzz $(ARGS)

chaos: $(STAMP)  ## kill, cut off, fill the disk, and audit what everybody was shown (about ten minutes; ARGS="--help")
	@PYTHONPATH=tests $(BIN)/python -m chaos $(ARGS)

lock: $(STAMP)  ## renew constraints.txt: the newest versions that pyproject.toml allows
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade --upgrade-strategy eager --editable '.[dev]'
	{ grep '^#' constraints.txt; $(BIN)/python -m pip freeze --exclude-editable; } > constraints.new
	mv constraints.new constraints.txt

format: $(STAMP)  ## apply the code style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove what the targets above made
	rm -rf .venv .venv-* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache bench-results

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

# $(call install,EXTRAS,HOW LONG) installs Greenroom with these extras.
define install
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Greenroom needs Python 3.11 or later; $(PYTHON) is older. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
@echo "Setting up .venv (once; about $(2)) ..."
@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "Could not make a virtual environment. On Debian or Ubuntu: apt-get install python3-venv"; exit 1; }
@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.$(1)'
endef

$(CHAT): pyproject.toml constraints.txt Makefile
	$(call install,,ten seconds)
	@touch $(CHAT)

$(STAMP): pyproject.toml constraints.txt Makefile
	$(call install,[dev],half a minute)
	@touch $(CHAT) $(STAMP)
