.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
WEIGHTS ?= ../shared/weights/tf_efficientnet_lite0.safetensors
PICTURES ?= ../shared/data/manifest.csv

.venv/done: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

.PHONY: demo
demo: .venv/done ## retrieve the shipped photos from the shipped sketches, and measure it
	@PATH="$(CURDIR)/$(BIN):$$PATH" WEIGHTS=$(WEIGHTS) sh fixtures/demo.sh

.PHONY: test
test: .venv/done ## run the tests
	$(BIN)/pytest

.PHONY: lint
lint: .venv/done ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.PHONY: bench
bench: .venv/done ## make docs/performance.md: what prepare, embed and match take
	$(BIN)/python benchmarks/memory.py > docs/performance.md.new
	$(BIN)/python benchmarks/prepare.py >> docs/performance.md.new
	mv docs/performance.md.new docs/performance.md

.PHONY: results
results: .venv/done ## make docs/results.md from the pictures of PICTURES and the backbone in WEIGHTS
	$(BIN)/python benchmarks/results.py $(PICTURES) $(WEIGHTS) > docs/results.md.new
	mv docs/results.md.new docs/results.md

.PHONY: help
help: ## show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/:/' | awk -F': ' '{printf "make %-8s %s\n", $$1, $$2}'
