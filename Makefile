# make test: the tests. make proof: every topology, attack, server and client, reboots, crashes, other firewall tools.
# make demo: what the role changes, by real transfers, then ftp_check; SIDE=server, client or gateway;
#   KIND=iptables, nftables or firewalld says who filters.
# make bench: what it costs, beside firewalld, ufw and a loop of ansible.builtin.iptables; writes docs/benchmarks.md.
# make compare: the same transfers and attacks through other firewalls; writes docs/comparison.md.
# make versions: the role with every supported ansible-core, on hosts with Python 3.9, 3.11 and 3.13.
# make sanity: what Galaxy and ansible-test want; CORES="2.16 2.19" names versions of ansible-core for both.
# make docs: the documentation as a site, in .cache/docs/build/html.
# All set up what they need: virtual environment, container engine, images.

SIDE := server
KIND := iptables
# The longest first, so that none is left alone at the end.
SCENARIOS := lifecycle legacy mutants matrix active passive default refusals
PROOF := topologies reboot attacks resilience coexistence random-firewalls check interoperability containers
VENV := .venv
PUBLISH := .cache/publish
COLLECTION := .cache/ansible_collections/hostfw/conntrack
CORES :=
# What does not need each other runs at the same time.
MAKEFLAGS += --jobs=3
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/.cache
# Ansible starts hundreds of times, and takes twice as long where nothing that is compiled is kept.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: test lint unit molecule proof demo interoperability topologies compare bench versions sanity docs clean engine images

test: molecule lint unit

$(VENV)/bin/pip:
	python3 -m venv $(VENV) || (apt-get install --yes python3-venv && python3 -m venv $(VENV))

# Most of what the package ansible brings is never run, so never compiled.
$(VENV)/ready: test-requirements.txt | $(VENV)/bin/pip $(COLLECTION)
	$(VENV)/bin/pip install --quiet --no-compile --requirement test-requirements.txt
	touch $@

$(COLLECTION):
	molecule/shared/dependency

# Not while apt-get installs python3-venv: it lets no other apt-get in.
engine: | $(VENV)/bin/pip
	tools/engine

# Once, before several scenarios want them at the same time.
images: engine | $(COLLECTION)
	molecule/shared/dependency bullseye bookworm trixie

lint: $(VENV)/ready
	ruff format --check
	ruff check
	cd $(COLLECTION)/plugins && MYPYPATH=$(ANSIBLE_COLLECTIONS_PATH):$(CURDIR)/tools mypy --config-file $(CURDIR)/pyproject.toml --cache-dir $(CURDIR)/.cache/mypy . ../docs/draw $(CURDIR)/tools/lab
	ansible-lint
	antsibull-changelog lint

unit: $(VENV)/ready
	pytest tests/unit

molecule: $(VENV)/ready images
	tools/molecule $(SCENARIOS)

proof: $(VENV)/ready images
	tools/molecule $(PROOF)

demo: $(VENV)/ready images
	tools/demo $(SIDE) $(KIND)

# Each writes the page of its name.
interoperability topologies: $(VENV)/ready images
	UPDATE_GOLDEN=1 tools/molecule $@

compare: $(VENV)/ready images
	UPDATE_GOLDEN=1 tools/molecule comparison

# It plans, too, by the collection's own code.
bench: export PYTHONPATH := $(CURDIR)/.cache
bench: $(VENV)/ready images
	$(VENV)/bin/pip install --quiet matplotlib==3.11.2
	tools/bench

versions: $(VENV)/ready images
	tools/versions $(CORES)

$(PUBLISH)/ready: tools/publish.txt | $(VENV)/bin/pip $(COLLECTION)
	python3 -m venv --clear $(PUBLISH)
	$(PUBLISH)/bin/pip install --quiet --no-compile --requirement tools/publish.txt
	touch $@

sanity docs: export PATH := $(CURDIR)/$(PUBLISH)/bin:$(PATH)

sanity: $(PUBLISH)/ready
	antsibull-docs lint-collection-docs --plugin-docs .
	rm -rf .cache/build
	ansible-galaxy collection build --output-path .cache/build
	cd .cache/build && python -m galaxy_importer.main *.tar.gz 2>&1 | tee importer.log
	grep -q 'completed successfully' .cache/build/importer.log
	! grep -E 'WARNING|ERROR' .cache/build/importer.log
	tools/sanity $(CORES)

# Links to Ansible's own documentation want the network: without it, they are no links.
docs: $(PUBLISH)/ready
	rm -rf .cache/docs
	mkdir -m 700 .cache/docs
	antsibull-docs sphinx-init --use-current --squash-hierarchy --project hostfw.conntrack --dest-dir .cache/docs hostfw.conntrack
	sed -i 's/ -W --keep-going/ --quiet/' .cache/docs/build.sh
	.cache/docs/build.sh

clean:
	rm -rf $(VENV) .cache .ansible
