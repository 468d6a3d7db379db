# `make demo` and `make test` do all the set-up themselves: Python >= 3.10, g++ and make are enough.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= demo_out
# tests run side by side; MPI tests oversubscribe the cores anyway
JOBS ?= 2

.PHONY: demo test test-fast kokkos lint ruff mypy clang-format collected site docs format setup clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: setup
	$(BIN)/python examples/nh3/demo.py --out $(OUT)

# LAMMPS with Kokkos is compiled from its sources, once, and kept in the user's cache. Where there
# are no sources, that is said, and the tests that need it are skipped with that reason.
KOKKOS = $(BIN)/python tests/kokkos/build_lammps.py --jobs $(JOBS)
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder --durations=15

test: setup lint
	$(KOKKOS)
	$(PYTEST)

# without tests of more than about two seconds of processor time and without LAMMPS with Kokkos
test-fast: setup
	$(PYTEST) -m 'not slow and not kokkos'

# the Kokkos style alone
kokkos: setup
	$(KOKKOS)
	$(PYTEST) -m kokkos

lint: setup
	$(MAKE) --no-print-directory --jobs=2 site collected ruff mypy clang-format

ruff: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check

mypy: setup
	$(BIN)/mypy

clang-format: setup
	$(BIN)/clang-format --dry-run --Werror $$(git ls-files '*.h' '*.cpp')

# tests that cannot be imported would end a run of an hour
collected: setup
	mkdir -p build
	$(BIN)/python -m pytest --collect-only -qq > build/collected.txt || (cat build/collected.txt; exit 1)

# The documentation, without warnings. The second time only what has changed is made.
SITE = build/site
site: setup
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going docs $(SITE)
	$(BIN)/python docs/check_site.py $(SITE)

docs: site
	$(BIN)/python -m webbrowser "file://$(abspath $(SITE)/index.html)"

format: setup
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/clang-format -i $$(git ls-files '*.h' '*.cpp')

clean:
	rm -rf $(VENV) $(OUT) dist build
