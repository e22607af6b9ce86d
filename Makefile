# SPDX-License-Identifier: GPL-3.0-or-later
# Every target does all its own set-up on Debian 12; finished set-up is skipped.
PREFIX ?= /usr/local
BIN := .venv/bin

# In this order: the peers' settings are read by the others.
SIMULATED := peers search worlds trigger ablation convergence

.PHONY: help setup demo test lint bench bench-short bench-speed bench-soak bench-linkgym train curves install uninstall clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST)

setup: .venv/.ready ## install Debian's GNU Radio and the pinned Python packages

.venv/.ready: tools/setup.sh pyproject.toml
	@tools/setup.sh

demo: setup ## run the main job: OLLA, then LightTune, over the same channel on IQ samples
	@mkdir -p out
	$(BIN)/lighttune demo --plot out/demo.png --json out/demo.json

test: setup lint ## run all checks and tests
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check python tests examples bench
	$(BIN)/ruff format --check python tests bench
	$(BIN)/mypy

bench: setup ## regenerate the tables and plots of docs/results, but for linkgym's (some 45 minutes)
	$(BIN)/python bench/modem_figures.py
	$(foreach name,$(SIMULATED),OMP_NUM_THREADS=1 $(BIN)/python bench/$(name).py &&) true

bench-short: setup ## the same in miniature, into out/bench, to see that it runs (a minute)
	$(foreach name,$(SIMULATED),OMP_NUM_THREADS=1 $(BIN)/python bench/$(name).py --short --out out/bench &&) true

bench-speed: setup ## how fast everything is, beside its peers: docs/results/speed.md (under 10 minutes)
	OMP_NUM_THREADS=1 $(BIN)/python bench/speed.py

bench-soak: setup ## a flowgraph at 500 decisions/s for 10 minutes: docs/results/flowgraph.md
	OMP_NUM_THREADS=1 $(BIN)/python bench/soak_flowgraph.py

bench-linkgym: ## LightTune in linkgym, in an environment of its own; validation seeds (some 20 minutes)
	@bench/setup_linkgym.sh
	.venv-linkgym/bin/python bench/linkgym_protocol.py --out out/linkgym.md

curves: setup ## measure the modem's BLER curves anew (minutes), then retrain with `make train`
	$(BIN)/lighttune modem-curves --packets 600 --json python/lighttune/models/amc_curves.json \
		--plot docs/results/modem/bler.png --table docs/results/modem/bler.md

train: setup ## train the shipped predictors anew (minutes)
	$(BIN)/lighttune train --table amc
	$(BIN)/lighttune train --table nr-pdsch-1-sionna --clean-reports 0.8

install: setup ## install the module for this machine's GNU Radio (PREFIX=/usr/local)
	cmake -B build/cmake -DCMAKE_INSTALL_PREFIX=$(PREFIX)
	cmake --install build/cmake

uninstall: ## remove what `make install` installed
	xargs -r -d '\n' rm -fv < build/cmake/install_manifest.txt

clean: ## remove everything that was built or installed in this tree
	rm -rf build out .venv .venv-linkgym
