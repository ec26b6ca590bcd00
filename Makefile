# make demo   a real search on handwritten digits; make test   every check this repository has

PYTHON ?= python3
VENV := .venv
# Extras that `make test` installs; .ci/run adds those of libraries that a test is skipped without.
EXTRAS ?= dev,export
# A lock file with hashes, from which .ci/run installs; without one constraints.txt says the versions.
LOCK ?=
PIP := $(VENV)/bin/python -m pip install --disable-pip-version-check -q

export PIP_NO_INPUT := 1

.PHONY: demo test installed clean

demo: $(VENV)/.installed-runtime
	$(VENV)/bin/evolute search --task digits --preset quick --seed 0

test: installed
	./check

installed: $(VENV)/.installed-dev

# The package is installed editable: only a change of what it needs, or of the native core, installs
# again.
$(VENV)/.installed-runtime: pyproject.toml constraints.txt $(LOCK) $(wildcard src/evolute/native/CMakeLists.txt src/evolute/native/core/*)
	$(PYTHON) -m venv $(VENV)
ifeq ($(LOCK),)
	$(PIP) -c constraints.txt scikit-build-core cmake ninja
	$(PIP) -c constraints.txt --no-build-isolation -e .
else
	$(PIP) --require-hashes --no-deps -r $(LOCK)
	$(PIP) --no-build-isolation --no-deps -e .
endif
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed-runtime
ifeq ($(LOCK),)
	$(PIP) -c constraints.txt --no-build-isolation -e '.[$(EXTRAS)]'
endif
	touch $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
