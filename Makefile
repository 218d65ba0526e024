# make test: the tests. make proof: every side, attack, server and client, reboots, crashes, neighbours; CI does both.
# make demo: what the role changes, by real transfers, then ftp_check; SIDE=server, client or gateway.
# make bench: what it costs, beside firewalld, ufw and a loop of ansible.builtin.iptables; writes docs/benchmarks.md.
# make versions: the role with every supported ansible-core, on hosts with Python 3.9, 3.11 and 3.13.
# make sanity: what Galaxy and ansible-test want; CORES="2.16 2.19" names versions of ansible-core for both.
# make docs: the documentation as a site, in .cache/docs/build/html.
# All set up what they need: virtual environment, container engine, images.

SIDE := server
SCENARIOS := lifecycle legacy mutants matrix active passive refusals default
PROOF := reboot survival neighbours attacks sides zoo check
VENV := .venv
PUBLISH := .cache/publish
CORES :=
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/.cache

.PHONY: test lint unit molecule proof demo zoo bench versions sanity docs clean

test: lint unit molecule

$(VENV)/ready: requirements.txt
	python3 -m venv $(VENV) || (apt-get install --yes python3-venv && python3 -m venv $(VENV))
	$(VENV)/bin/pip install --quiet --requirement requirements.txt
	molecule/shared/dependency
	touch $@

lint: $(VENV)/ready
	ruff format --check
	ruff check
	cd .cache/ansible_collections/hostfw/conntrack/plugins && MYPYPATH=$(ANSIBLE_COLLECTIONS_PATH) mypy --config-file $(CURDIR)/pyproject.toml --cache-dir $(CURDIR)/.cache/mypy . ../docs/draw
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
	$(VENV)/bin/pip install --quiet matplotlib==3.11.2
	tests/engine
	tests/bench

versions: $(VENV)/ready
	tests/engine
	tests/versions $(CORES)

$(PUBLISH)/ready: tests/publish.txt
	python3 -m venv --clear $(PUBLISH)
	$(PUBLISH)/bin/pip install --quiet --no-compile --requirement tests/publish.txt
	molecule/shared/dependency
	touch $@

sanity docs: export PATH := $(CURDIR)/$(PUBLISH)/bin:$(PATH)

sanity: $(PUBLISH)/ready
	antsibull-docs lint-collection-docs --plugin-docs .
	rm -rf .cache/build
	ansible-galaxy collection build --output-path .cache/build
	cd .cache/build && python -m galaxy_importer.main *.tar.gz 2>&1 | tee importer.log
	grep -q 'completed successfully' .cache/build/importer.log
	! grep -E 'WARNING|ERROR' .cache/build/importer.log
	tests/sanity $(CORES)

# Links to Ansible's own documentation want the network: without it, they are no links.
docs: $(PUBLISH)/ready
	rm -rf .cache/docs
	mkdir -m 700 .cache/docs
	antsibull-docs sphinx-init --use-current --squash-hierarchy --project hostfw.conntrack --dest-dir .cache/docs hostfw.conntrack
	sed -i 's/ -W --keep-going/ --quiet/' .cache/docs/build.sh
	.cache/docs/build.sh

clean:
	rm -rf $(VENV) .cache .ansible
