# make demo   a real search on handwritten digits; make test   every check this repository has

PYTHON ?= python3
VENV := .venv
# Extras that `make test` installs; .ci/run adds those of libraries that a test is skipped without.
EXTRAS ?= dev,export
PIP_INSTALL := $(VENV)/bin/python -m pip install --disable-pip-version-check -q -c constraints.txt

export PIP_NO_INPUT := 1

.PHONY: demo test clean

demo: $(VENV)/.installed-runtime
	$(VENV)/bin/evolute search --task digits --preset quick --seed 0

test: $(VENV)/.installed-dev
	./check

# The package is installed editable: only a change of what it needs, or of the native core, installs
# again.
$(VENV)/.installed-runtime: pyproject.toml constraints.txt $(wildcard src/evolute/native/CMakeLists.txt src/evolute/native/core/*)
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) scikit-build-core cmake ninja
	$(PIP_INSTALL) --no-build-isolation -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed-runtime
	$(PIP_INSTALL) --no-build-isolation -e '.[$(EXTRAS)]'
	touch $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
