# The task runner. `make demo` and `make test` need Python 3.10 to 3.13 (PYTHON=python3.12 chooses one) and nothing else.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-all docs format dist clean

demo: .venv/core
	$(BIN)/python -m vfx.extract collection=toydata
	@echo
	@echo "Look at what it wrote:"
	@echo "  $(BIN)/python -c 'import vfx; f = vfx.FeatureFile(\"outputs/toydata/efficientnet_lite0,avgpool\"); print(f); print(f[\"cat\"])'"

test: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

test-all: .venv/test  ## the slow tests too
	$(BIN)/python -m pytest -m ""

docs: .venv/docs  ## the documentation as a site, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo site/index.html

format: .venv/test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

dist: .venv/core  ## the wheel and the source distribution
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	$(BIN)/python -m pip install --quiet "setuptools>=77"
	$(BIN)/python -c 'from setuptools import build_meta; print(build_meta.build_sdist("dist"))'

# Modules are compiled when they are first imported, also where the user's settings would have none compiled: all of
# them together take a minute or two
unexport PYTHONDONTWRITEBYTECODE
INSTALL := $(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable

$(BIN)/python:
	$(PYTHON) -m venv .venv

.venv/core: setup.cfg pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) .
	touch $@

.venv/test: setup.cfg pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) ".[test]"
	touch .venv/core $@

.venv/docs: setup.cfg pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) ".[docs]"
	touch .venv/core $@

clean:
	rm -rf .venv build dist site *.egg-info
