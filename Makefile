.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
# What no clone has and some targets read, as in: make results PICTURES=manifest.csv WEIGHTS=lite0.safetensors
# PICTURES: a manifest with the sets `emoji` and `stamps` (path, modality, class, instance, split, set, family, concept)
# WEIGHTS: ImageNet weights of tf_efficientnet_lite0, in timm's names
# FREEHAND: a list of free-hand sketches and photographs (path, set, modality, class, split)
PICTURES ?=
WEIGHTS ?=
FREEHAND ?=
# SKETCHY: a folder that zse prepare sketchy --root reads
SKETCHY ?=

fill = $(BIN)/python benchmarks/fill.py
need = @test -n "$($(1))" || { echo "make $@ reads $(1): give $(1)=FILE, $(2)" >&2; exit 2; }
need_pictures = $(call need,PICTURES,a manifest with the sets emoji and stamps)
need_weights = $(call need,WEIGHTS,ImageNet weights of tf_efficientnet_lite0)
need_sketchy = $(call need,SKETCHY,a folder of the Sketchy database)
need_freehand = $(call need,FREEHAND,a list of free-hand sketches and photographs)

.venv/done: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

.PHONY: demo
demo: .venv/done ## retrieve the shipped photos from the shipped sketches, and measure it
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh fixtures/demo.sh

.PHONY: test
test: .venv/done ## run the tests
	$(BIN)/pytest

.PHONY: test-fast
test-fast: .venv/done ## run ten seconds of tests that touch every package once
	$(BIN)/pytest -m fast tests

.PHONY: minimum
minimum: ## run the tests with the lowest versions that pyproject.toml allows (PYTHON=python3.11; 8 GB)
	$(PYTHON) -m venv .venv/minimum
	grep -oE '"[a-zA-Z0-9_-]+>=[0-9.]+' pyproject.toml | tr -d '"' | sed 's/>=/==/' > .venv/minimum/lowest.txt
	.venv/minimum/bin/pip install --quiet --constraint .venv/minimum/lowest.txt --editable '.[dev]'
	.venv/minimum/bin/pytest --ignore tests/render/test_explanation_page.py

.PHONY: audit
audit: .venv/done ## ask an advisory service whether anything installed has a known hole; fails where none answers
	$(PYTHON) -m venv .venv/audit
	.venv/audit/bin/pip install --quiet pip-audit
	$(BIN)/pip freeze --exclude-editable | .venv/audit/bin/pip-audit --strict --no-deps --disable-pip --requirement /dev/stdin

.PHONY: lint
lint: .venv/done ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.PHONY: bench
bench: .venv/done ## measure the tables of docs/performance.md: speed and memory, beside plain programs (an hour on two cores; a GPU is used where there is one)
	$(need_pictures)
	$(need_freehand)
	$(BIN)/python benchmarks/memory.py > memory.new
	$(BIN)/python benchmarks/speed.py > speed.new
	$(BIN)/python benchmarks/cascade.py $(PICTURES) zse/results > cascade.new
	$(BIN)/python benchmarks/start.py > start.new
	$(BIN)/python benchmarks/metrics.py > metrics.new
	$(BIN)/python benchmarks/large.py > large.new
	$(BIN)/python benchmarks/prepare.py > prepare.new
	$(BIN)/python benchmarks/checksums.py > checksums.new
	$(BIN)/python benchmarks/draw.py $(FREEHAND) > draw.new
	$(fill) docs/performance.md memory.new speed.new cascade.new start.new metrics.new large.new prepare.new checksums.new draw.new

.PHONY: faults
faults: .venv/done ## measure the tables of docs/reliability.md: kill, stop and starve every stage, damage every file (about a quarter of an hour on two cores)
	cd tests && PYTHONPATH=.:../benchmarks ../$(BIN)/python -m faults 6 > ../faults.new
	$(fill) docs/reliability.md faults.new

.PHONY: fuzz
fuzz: .venv/done ## look for inputs that break a reader, a minute for each (a quarter of an hour)
	cd tests && PYTHONPATH=. ../$(BIN)/python -m fuzz all 60

.PHONY: results
results: .venv/done ## measure the tables of docs/results.md from the pictures of PICTURES and the backbone in WEIGHTS
	$(need_pictures)
	$(need_weights)
	$(BIN)/python benchmarks/results.py $(PICTURES) $(WEIGHTS) zse/results > results.new
	$(fill) docs/results.md results.new

.PHONY: intervals
intervals: .venv/done ## measure the tables of docs/intervals.md: how often intervals and tests hold, by simulation (about 4 minutes on one core)
	$(BIN)/python benchmarks/intervals.py > intervals.new
	$(fill) docs/intervals.md intervals.new

.PHONY: pictures
pictures: .venv/done ## measure the tables of docs/pictures.md: what is done with pictures, and what bad sketches cost (about 5 minutes on two cores)
	$(BIN)/python benchmarks/pictures.py > pictures.new
	$(fill) docs/pictures.md pictures.new

.PHONY: explanations
explanations: .venv/done ## measure the tables of docs/explanations.md, and draw its figures: are explanations true? (about 10 minutes on two cores)
	$(need_pictures)
	$(need_weights)
	$(BIN)/python benchmarks/explanations.py $(PICTURES) $(WEIGHTS) zse/results docs/figures > explanations.new
	$(fill) docs/explanations.md explanations.new

.PHONY: screenshots
screenshots: .venv/done ## make the pictures of zse draw in docs/figures, in a headless Chromium (a minute)
	$(BIN)/python benchmarks/draw_figures.py docs/figures

.PHONY: weights
weights: .venv/done ## train the shipped network on PICTURES from the backbone in WEIGHTS (about an hour on two cores)
	$(need_pictures)
	$(need_weights)
	MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 GLIBC_TUNABLES=glibc.malloc.hugetlb=1 \
	$(BIN)/python scripts/train_shipped.py $(PICTURES) $(WEIGHTS) zse

.PHONY: freehand
freehand: .venv/done ## train the network `freehand` on FREEHAND from the backbone in WEIGHTS, here of tf_efficientnet_lite2 (an hour on two cores)
	$(need_freehand)
	$(need_weights)
	MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 GLIBC_TUNABLES=glibc.malloc.hugetlb=1 \
	$(BIN)/python scripts/train_freehand.py $(FREEHAND) $(WEIGHTS) zse

.PHONY: sketchy
sketchy: .venv/done ## measure the tables of docs/results.md on SKETCHY, with tf_efficientnet_lite2 in WEIGHTS (half an hour on two cores)
	$(need_sketchy)
	$(need_weights)
	$(BIN)/python benchmarks/freehand.py $(SKETCHY) $(WEIGHTS) zse/results > sketchy.new
	$(fill) docs/results.md sketchy.new

.PHONY: scenes
scenes: .venv/done ## measure the table of docs/explanations.md on scenes made from PICTURES, with tf_efficientnet_lite2 in WEIGHTS (a minute)
	$(need_pictures)
	$(need_weights)
	$(BIN)/python benchmarks/scenes.py $(PICTURES) $(WEIGHTS) > scenes.new
	$(fill) docs/explanations.md scenes.new

.PHONY: ablations
ablations: .venv/done ## measure the tables of docs/ablations.md: short trainings with one thing changed (about 30 minutes on two cores)
	$(need_pictures)
	$(need_weights)
	$(BIN)/python benchmarks/ablations.py $(PICTURES) $(WEIGHTS) zse/ablations > ablations.new
	$(fill) docs/ablations.md ablations.new

.PHONY: help
help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | awk -F'|' '{printf "make %-12s %s\n", $$1, $$2}'
