# make run        a simulated cross-age and a simulated distillation grid, ending with pages
# make test       style, types and tests, offline
# make test-page  a leaderboard's page in Chromium, installed with apt where it is missing
# make speed      what the machinery costs, as ratios: leaderboards/speed.md; half an hour of an idle machine
# Each builds its own virtual environment first, from a bare Python 3.11 or newer.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# Jobs and tests run two to a machine, one thread each: two threads each are several times slower.
WORKERS ?= 2

# Floors, and the methods of each family that need minutes.
CROSS_AGE = majority,features-logreg,features-gbm,features-logreg-target,features-logreg-pooled,source-only,target-only,pooled,finetune-all,finetune-head,pseudo-label,coral,rp-linear,rp-finetune,ts-linear
# A few of the distillation methods, with their controls.
DISTILLATION = majority,features-logreg,teacher,student-only,label-smoothing,kd-random-teacher,kd-softmax,kd-attention,kd-feature

.PHONY: run test test-page speed install clean

run: install
	$(BIN)/sleepshift run cross-age-simulated --workers $(WORKERS) --out runs/cross-age --methods $(CROSS_AGE)
	$(BIN)/sleepshift report runs/cross-age
	$(BIN)/sleepshift run scalp-to-ear-simulated --folds 0 --workers $(WORKERS) --out runs/distillation --methods $(DISTILLATION)
	$(BIN)/sleepshift report runs/distillation --partial

test: install
	$(BIN)/ruff check benchmark examples tests
	$(BIN)/ruff format --check benchmark examples tests
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

# Root needs no sudo, and often has none.
SUDO = $(if $(filter 0,$(shell id -u)),,sudo)

test-page: install
	command -v chromium || command -v google-chrome || \
		{ $(SUDO) apt-get update && $(SUDO) apt-get install --yes --no-install-recommends chromium fonts-dejavu-core; }
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/leaderboard/page

speed: install
	PYTHONPATH=benchmark $(BIN)/python -m speed

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	touch $@

clean:
	rm -rf $(VENV) runs build
