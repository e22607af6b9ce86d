# SPDX-License-Identifier: GPL-3.0-or-later
# Every target does all its own set-up on Debian and Ubuntu; finished set-up is skipped.
PREFIX ?= /usr/local
BIN := .venv/bin

# In this order: the peers' settings are read by the others.
SIMULATED := peers search worlds trigger ablation convergence retraining field adversaries

.PHONY: help setup demo test lint fuzz restarts soak bare lock licences audit bench bench-short bench-speed bench-soak bench-feedback trust bench-linkgym train curves install uninstall radio clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST)

setup: .venv/.ready ## install GNU Radio and the Python packages that go with it (TORCH=no: without torch)

SET_UP := tools/setup.sh tools/packages.py pyproject.toml $(wildcard requirements/*.lock)

.venv/.ready: $(SET_UP)
	@tools/setup.sh full

# All but what tests, manual and training need.
.venv/.ready-demo: $(SET_UP)
	@tools/setup.sh demo

demo: .venv/.ready-demo ## run the main job: OLLA, then LightTune, over the same channel on IQ samples
	@mkdir -p out
	$(BIN)/lighttune demo --plot out/demo.png --json out/demo.json

test: setup lint ## run all checks and tests
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check python tests examples bench tools
	$(BIN)/ruff format --check python tests bench tools
	$(BIN)/mypy

bench: setup ## regenerate the tables and plots of docs/results, but for linkgym's (some 65 minutes)
	$(BIN)/python bench/modem_figures.py
	$(foreach name,$(SIMULATED),OMP_NUM_THREADS=1 $(BIN)/python bench/$(name).py &&) true

bench-short: setup ## the same in miniature, into out/bench, to see that it runs (a minute)
	$(foreach name,$(SIMULATED),OMP_NUM_THREADS=1 $(BIN)/python bench/$(name).py --short --out out/bench &&) true

bench-speed: setup ## how fast everything is, beside its peers: docs/results/speed.md (under 10 minutes)
	OMP_NUM_THREADS=1 $(BIN)/python bench/speed.py

bench-soak: setup ## a flowgraph at 500 decisions/s for 10 minutes: docs/results/flowgraph.md
	OMP_NUM_THREADS=1 $(BIN)/python bench/soak_flowgraph.py

bench-feedback: setup ## the feedback path between two hosts and over the air: docs/results/feedback.md (some 10 minutes)
	OMP_NUM_THREADS=1 $(BIN)/python bench/feedback_path.py

trust: setup ## faults, restarts, hostile input, and a soak: docs/results/faults.md and so on (some 17 minutes)
	OMP_NUM_THREADS=1 $(BIN)/python bench/faults.py
	$(MAKE) restarts
	$(MAKE) fuzz
	OMP_NUM_THREADS=1 $(BIN)/python bench/soak.py --minutes 1 --out out/trust

bench-linkgym: ## LightTune in linkgym, in an environment of its own; validation seeds (some 20 minutes)
	@bench/setup_linkgym.sh
	.venv-linkgym/bin/python bench/linkgym_protocol.py --out out/linkgym.md

curves: setup ## measure the modem's BLER curves anew (minutes), then retrain with `make train`
	$(BIN)/lighttune modem-curves --packets 600 --json python/lighttune/models/amc_curves.json \
		--plot docs/results/modem/bler.png --table docs/results/modem/bler.md

train: setup ## train the shipped networks anew (hours; interrupted, it goes on)
	$(BIN)/lighttune train --table amc --files 8
	$(BIN)/lighttune train --table nr-pdsch-1-sionna
	$(BIN)/lighttune train --table wifi

docs: setup reference ## build the manual: build/manual/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

reference: setup ## write the manual's pages on blocks and commands anew, after a change to these
	$(BIN)/python tools/reference.py

fuzz: setup ## hostile input, a million of them, guided by coverage: docs/results/fuzz.md (minutes)
	nice $(BIN)/python bench/fuzz.py

restarts: setup ## flowgraphs started and stopped 200 times: docs/results/restarts.md
	OMP_NUM_THREADS=1 $(BIN)/python bench/restarts.py

soak: setup ## ten million decisions, and a flowgraph for MINUTES (30): docs/results/soak.md
	OMP_NUM_THREADS=1 $(BIN)/python bench/soak.py --minutes $(or $(MINUTES),30)

lock: ## write requirements/*.lock anew, after a change in pyproject.toml (UV=--upgrade: with newer versions)
	tools/lock.sh $(UV)

audit: .venv-audit/bin/pip-audit ## ask OSV for known vulnerabilities of the pinned packages (over the network)
	$(foreach lock,$(wildcard requirements/*.lock),$< --requirement $(lock) --require-hashes --disable-pip --vulnerability-service osv &&) true

.venv-audit/bin/pip-audit:
	/usr/bin/python3 -m venv .venv-audit
	.venv-audit/bin/pip install --quiet pip-audit==2.10.1

licences: setup ## write docs/licences.md anew, after `make lock`
	$(BIN)/python tools/licences.py

install: ## install the module for this machine's GNU Radio (PREFIX=/usr/local)
	@bash -c '. tools/have.sh && need install gnuradio:gnuradio cmake:bin/cmake'
	cmake -B build/cmake -DCMAKE_INSTALL_PREFIX=$(PREFIX)
	cmake --install build/cmake

uninstall: ## remove what `make install` installed
	cmake --build build/cmake --target uninstall

radio: setup ## build the stand-in radio for docs/usrp.md: build/soapy_loopback
	cmake -S tools/soapy_loopback -B build/soapy_loopback && cmake --build build/soapy_loopback

deb: ## build a Debian package for this Debian or Ubuntu: build/deb/gr-lighttune_VERSION_all.deb
	tools/deb.sh

bare: ## both `make demo` and `make test` on a bare Debian 12, as root (SUITE=bookworm FOLDER=; some hours)
	tools/bare.sh $(or $(SUITE),bookworm) $(FOLDER)

clean: ## remove everything that was built or installed in this tree
	rm -rf build out .venv .venv-linkgym .venv-audit
