# One word per task. Everything happens in a virtual environment of the checkout (.venv), made on first use.
# A POSIX make, Python 3.11+ and a C++20 compiler are all that must be there.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= out/demo
FUZZ_SECONDS ?= 60
RUNS ?= 1
BENCH ?=
BARS ?=
COMPARE ?=
PAPER ?=
PACKAGE ?= .
# A few processes, each with whole files of tests: most tests use one core.
PARALLEL ?= -n auto --maxprocesses 4 --dist loadfile --durations 15

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
# What an installation is made of. After `make dev`, which alone compiles in place then, nothing is installed anew.
SOURCES := $(if $(wildcard $(VENV)/.in_place),,pyproject.toml CMakeLists.txt $(shell find cmake csrc cuda python -type f \
	\( -name '*.py' -o -name '*.pyi' -o -name '*.[ch]pp' -o -name '*.cu' -o -name CMakeLists.txt -o -name "*.cmake" -o -name "*.j2" \)))

.PHONY: help demo dev stubs test test-user test-rest test-all test-slow lint docs format wheel wheel-check fuzz sanitize sanitize-address sanitize-thread bench bench-streaming bars compare paper clean

# $(1): the folder in build/, $(2): options
configure = PATH="$(abspath $(BIN)):$$PATH" cmake -S . -B build/$(1) -G Ninja -DSKBUILD_PROJECT_NAME=pixfold \
	-DSKBUILD_PROJECT_VERSION=$(VERSION) -DSKBUILD_PROJECT_VERSION_FULL=$(VERSION) \
	-DPython_EXECUTABLE=$(abspath $(BIN))/python -Dpybind11_DIR=$$($(BIN)/python -m pybind11 --cmakedir) $(2) $(CMAKE_ARGS)
# $(1): address or thread
sanitized = -DCMAKE_BUILD_TYPE=Debug -DPIXFOLD_SANITIZE=$(1) -DPIXFOLD_TESTS=ON -DPIXFOLD_WERROR=ON

help:  ## Show what there is.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# What users get: pip install ".[all]". PACKAGE may be a wheel that is there already.
$(VENV)/.user: $(BIN)/python $(SOURCES)
	$(BIN)/python -m pip install --quiet "$(PACKAGE)[all]"
	touch $@

# The same and the tools to work on it: the package is installed already, and pip adds the tools.
$(VENV)/.dev: $(VENV)/.user
	$(BIN)/python -m pip install --quiet "pixfold[all,dev]"
	touch $@

# An sdist, and from that a wheel.
build/dist/.wheel: $(BIN)/python $(SOURCES)
	rm -rf build/dist
	$(BIN)/python -m pip install --quiet build
	$(BIN)/python -m build --outdir build/dist .
	touch $@

demo: $(VENV)/.user  ## Install, then find the needles in the haystack (10,000 x 18,225) and write a report.
	mkdir -p $(DEMO)
	$(BIN)/pixfold nihs $(DEMO)/nihs.h5ad --seed 0 --force
	$(BIN)/pixfold run $(DEMO)/nihs.h5ad --label label --runs 1 --seed 0 --out $(DEMO)/findings --force

# Python imports the package from python/ then, and the extensions are compiled into that folder, what changed alone.
dev: $(BIN)/python  ## Install to work on it, both extensions compiled in place.
	$(BIN)/python -m pip install --quiet cmake ninja "pybind11>=2.13" "scikit-build-core>=0.10"
	$(BIN)/python -m pip install --quiet --no-build-isolation -e ".[all,dev]" -Cwheel.cmake=false -Ceditable.mode=inplace
	$(call configure,dev,-DCMAKE_BUILD_TYPE=Release)
	PATH="$(abspath $(BIN)):$$PATH" cmake --build build/dev
	PATH="$(abspath $(BIN)):$$PATH" cmake --install build/dev --prefix python
	touch $(VENV)/.user $(VENV)/.dev $(VENV)/.in_place

stubs: dev  ## Compile what changed, then write the stubs of the extensions from them.
	$(BIN)/python csrc/bindings/stubs.py

test-user: $(VENV)/.user  ## Tests of formats with what users get and pytest, before the tools are there.
	$(BIN)/python -m pip install --quiet pytest pytest-xdist
	$(BIN)/python -m pytest -m "not slow" $(PARALLEL) tests/sources tests/store

# Of the tests that test-user runs, those that ask for a package of development run again with it.
ASK := $(shell grep -lE 'hypothesis|zarrs|bed_reader|jax|ml_dtypes' tests/sources/test_*.py tests/store/test_*.py)
test-rest: $(VENV)/.dev  ## All tests but those that test-user has run whole.
	$(BIN)/python -m pytest -m "not slow" $(PARALLEL) \
		$(filter-out tests/sources/ tests/store/,$(wildcard tests/*/)) $(wildcard tests/test_*.py) $(ASK)

test-all: $(VENV)/.dev  ## All tests, with the tools of development.
	$(BIN)/python -m pytest -m "not slow" $(PARALLEL)

# In a new environment in two steps, so that no tool of development hides what a user lacks.
test:  ## Install, then pass the tests.
	$(if $(wildcard $(VENV)/.dev),$(MAKE) test-all,$(MAKE) test-user && $(MAKE) test-rest)

test-slow: $(VENV)/.dev  ## The tests that take minutes.
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.dev  ## Style and types of Python, layout of C++.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	find csrc cuda tests/cpp \( -name '*.[ch]pp' -o -name '*.cu' \) | xargs $(BIN)/clang-format --dry-run --Werror

$(VENV)/.docs: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet "pixfold[docs]"
	touch $@

docs: $(VENV)/.docs  ## Build the pages of docs/ into build/site; a broken link fails.
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

format: $(VENV)/.dev  ## Put Python and C++ into the layout that lint wants.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	find csrc cuda tests/cpp \( -name '*.[ch]pp' -o -name '*.cu' \) | xargs $(BIN)/clang-format -i

wheel: build/dist/.wheel  ## Build sdist and wheel into build/dist.

wheel-check: build/dist/.wheel  ## The wheel must fold with NumPy alone.
	rm -rf build/wheel-venv
	$(PYTHON) -m venv build/wheel-venv
	build/wheel-venv/bin/python -m pip install --quiet build/dist/*.whl
	cd build && wheel-venv/bin/python ../tests/wheel_check.py

fuzz: $(VENV)/.dev  ## Random and damaged calls of every op, and damaged files, for FUZZ_SECONDS (60) each.
	$(BIN)/python tests/fuzz.py --seconds $(FUZZ_SECONDS)
	$(BIN)/python tests/fuzz_files.py --seconds $(FUZZ_SECONDS)

sanitize: sanitize-address sanitize-thread  ## Everything below a sanitizer: both of the next.

$(VENV)/.sanitize: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet cmake ninja pybind11
	touch $@

# Tests with torch, JAX and Dask hand the same memory to the same bindings, and take half as long again.
sanitize-address: $(VENV)/.sanitize  ## C++ tests and tests of the ops under ASan and UBSan.
	$(call configure,sanitize-address,$(call sanitized,address))
	PATH="$(abspath $(BIN)):$$PATH" cmake --build build/sanitize-address --target cpp_tests _core _cuda_simt
	PATH="$(abspath $(BIN)):$$PATH" ctest --test-dir build/sanitize-address -j 2 --output-on-failure
	PIXFOLD_TEST_ONE_ISA=1 $(BIN)/python tests/sanitized.py build/sanitize-address -m pytest -q $(PARALLEL) tests/ops \
		$(addprefix --ignore=tests/ops/test_,torch.py interop.py dask.py)

sanitize-thread: $(VENV)/.sanitize  ## C++ tests under ThreadSanitizer.
	$(call configure,sanitize-thread,$(call sanitized,thread))
	PATH="$(abspath $(BIN)):$$PATH" cmake --build build/sanitize-thread --target cpp_tests
	PATH="$(abspath $(BIN)):$$PATH" ctest --test-dir build/sanitize-thread --output-on-failure

$(VENV)/.bench: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet ".[all,dev,bench]"
	touch $@

bench: $(VENV)/.bench  ## Kernels and conversions as ratios to their limits and to rivals, some 10 minutes.
	mkdir -p build/bench
	rm -f build/bench/*.json
	run=0; while [ $$run -lt $(RUNS) ]; do run=$$((run + 1)); \
		$(BIN)/python -m pytest benchmarks --ignore=benchmarks/test_streaming.py --benchmark-only --benchmark-columns=median,min,max \
			--benchmark-json=build/bench/$$run.json $(BENCH) || exit 1; done
	$(BIN)/python benchmarks/summary.py build/bench/*.json \
		$(if $(findstring -k,$(BENCH)),,--to benchmarks/results/kernels.json --readme benchmarks/README.md)

bench-streaming: $(VENV)/.bench  ## Files larger than memory, as ratios; PIXFOLD_STREAM_GB=20 as recorded, 30 GB of disk.
	mkdir -p build/bench
	$(BIN)/python -m pytest benchmarks/test_streaming.py --benchmark-only --benchmark-columns=median,min,max \
		--basetemp=build/bench/tmp --benchmark-json=build/bench/streaming.json $(BENCH)
	$(BIN)/python benchmarks/summary.py build/bench/streaming.json \
		$(if $(findstring -k,$(BENCH)),,--to benchmarks/results/streaming.json --readme benchmarks/README.md)

bars: $(VENV)/.dev  ## What the list of features is held to, many hours; BARS="two-features --pair-seeds 3" for a part.
	mkdir -p build
	$(BIN)/python -m benchmarks.list_bars $(BARS)

$(VENV)/.compare: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet "$(PACKAGE)[all,dev,compare]"
	touch $@

compare: $(VENV)/.compare  ## Conversions of pixfold and others, and the paper's Table 2; COMPARE="--limit 30" for less.
	$(BIN)/python -m benchmarks.compare $(COMPARE)
	$(BIN)/python -m benchmarks.paper.table2 $(PAPER)

paper: $(VENV)/.compare  ## The paper's experiments and what lies beyond them, an hour; PAPER="--seeds 1" for less.
	failed=; for each in nihs recovery mnist real_data; do \
		$(BIN)/python -m benchmarks.paper.$$each $(PAPER) || failed="$$failed $$each"; done; \
		[ -z "$$failed" ] || { echo "not measured:$$failed"; exit 1; }

clean:  ## Remove everything that make made.
	rm -rf $(VENV) build out .pytest_cache .mypy_cache .ruff_cache
