# make demo | test | check: each sets up .venv when it is missing or the requirements read otherwise.
PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python
# Two workers with one thread each suit the smallest machine we test on.
WORKERS ?= 2

# make oldest has its own: the lowest versions that setup.py allows.
CONSTRAINTS ?= requirements/constraints.txt
TESTS ?=

# Named after what it was made of: another Python or other requirements make another stamp.
SOURCES := setup.py requirements/runtime.txt requirements/demo.txt requirements/tests.txt $(CONSTRAINTS)
MARKER := $(VENV)/.made-by-make-setup
STAMP := $(VENV)/.ready-$(shell { cat $(SOURCES); $(PYTHON) -c 'import sys; print(sys.version)'; } | cksum | cut -d' ' -f1)

.PHONY: help setup demo study test packaging oldest soak check format docs clean
help:
	@echo 'make demo    run the main job on real data: pre-training, fine-tuning, segmentation'
	@echo 'make study   compare the training strategies on Fashion-MNIST (hours; docs/study.md)'
	@echo 'make test    run all tests'
	@echo 'make packaging  build wheel and sdist, install them, run what they bring'
	@echo 'make oldest  test the library with the lowest versions that setup.py allows, in .venv.oldest'
	@echo 'make soak    train under kills, full disks and damaged files for three minutes'
	@echo 'make check   ruff: lint and format'
	@echo 'make docs    write the tables in configs/README.md and docs/ anew (some minutes)'
	@echo 'make clean   remove what building and testing left; the environment stays'
	@echo 'PYTHON=...   the interpreter that the environment is made with'

setup: $(STAMP)

ifneq ($(words $(VENV)),1)
$(error VENV='$(VENV)' must be one path without spaces, such as .venv)
endif

# The marker is written first and goes last: only what has it (or the stamp of an older version) is
# replaced. The stamp is written last and goes first: an environment from a set-up that failed or
# was interrupted is made anew. It has no prerequisites, for its name says what it was made of:
# a requirements file with a new time and the old text changes nothing.
$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'error: $(PYTHON) is older than Python 3.11, which the tested versions need; choose another one by PYTHON=...'; exit 2; }
	@if test -L $(VENV) || { test -e $(VENV) && ! ls $(MARKER) >/dev/null 2>&1 && ! ls $(VENV)/.ready-* >/dev/null 2>&1; }; then \
		echo 'error: $(VENV) was not made by make setup and stays as it is. Move it, or choose another place by VENV=...'; \
		echo "To use an environment of your own: ITS_PYTHON -m pip install -c requirements/constraints.txt -e '.[tests]', then ITS_PYTHON -m pytest or ITS_PYTHON tools/demo.py."; \
		exit 2; fi
	@echo 'Setting up $(VENV); this takes a few minutes and about 6 GB, mostly torch.'
	mkdir -p $(VENV)
	echo 'make setup replaces this environment when requirements change' > $(MARKER)
	rm -f $(VENV)/.ready-*
	find $(VENV) -mindepth 1 ! -path $(MARKER) -delete
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) pip setuptools wheel
	$(RUN) -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.[tests]'
	$(RUN) -c 'import cosub_mm'
	touch $@

# What these start ends with them, also when make itself is killed.
demo study test soak: export COSUB_END_WITH_PARENT = 1
test: export OMP_NUM_THREADS = 1

demo: setup
	$(RUN) tools/demo.py

# Goes on where it was interrupted; STUDY='--part lam' and the like for its other parts.
study: setup
	$(RUN) tools/analysis_tools/study.py $(STUDY)

test: setup
	$(RUN) -m pytest -n $(WORKERS) --dist worksteal -q $(TESTS)

# Builds wheel and source distribution and installs each where this checkout is out of sight.
packaging: setup
	$(RUN) -m pytest -q -m packaging tests/packaging

# tools/soak.py --minutes 30 is the long form, whose table is in docs/reliability.md.
soak: setup
	$(RUN) -m pytest -q -s -m soak tests/tools/test_soak.py

# Another 6 GB; not part of what CI runs on each change.
oldest:
	$(MAKE) test VENV=.venv.oldest CONSTRAINTS=requirements/oldest.txt TESTS='tests/losses tests/stochastic_depth'

check: setup
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

format: setup
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

docs: setup
	$(RUN) tools/analysis_tools/make_config_table.py
	$(RUN) tools/analysis_tools/coverage_stochastic_depth.py

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
