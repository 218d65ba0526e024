# make test: the tests. make proof: every side, attack, server and client, reboots, crashes, neighbours; CI does both.
# make demo: what the role changes, by real transfers; SIDE=server, client or gateway.
# All set up what they need: virtual environment, container engine, images.

SIDE := server
SCENARIOS := lifecycle legacy mutants matrix active passive refusals default
PROOF := reboot survival neighbours attacks sides zoo
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/.cache

.PHONY: test lint unit molecule proof demo zoo bench clean

test: lint unit molecule

$(VENV)/ready: requirements.txt
	python3 -m venv $(VENV) || (apt-get install --yes python3-venv && python3 -m venv $(VENV))
	$(VENV)/bin/pip install --quiet --requirement requirements.txt
	molecule/shared/dependency
	touch $@

lint: $(VENV)/ready
	ruff format --check
	ruff check
	cd .cache/ansible_collections/hostfw/conntrack/plugins && MYPYPATH=$(ANSIBLE_COLLECTIONS_PATH) mypy --config-file $(CURDIR)/pyproject.toml --cache-dir $(CURDIR)/.cache/mypy .
	ansible-lint
	antsibull-changelog lint

unit: $(VENV)/ready
	pytest tests/unit

molecule: $(VENV)/ready
	tests/engine
	tests/molecule $(SCENARIOS)

proof: $(VENV)/ready
	tests/engine
	tests/molecule $(PROOF)

demo: $(VENV)/ready
	tests/engine
	tests/demo $(SIDE)

zoo: $(VENV)/ready
	tests/engine
	UPDATE_GOLDEN=1 tests/molecule zoo

bench: $(VENV)/ready
	tests/engine
	tests/bench

clean:
	rm -rf $(VENV) .cache .ansible
