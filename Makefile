# Needs Python 3.11 or later with pip, git and make. Everything goes into .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: install demo pong test-fast test test-slow docs lint format bench clean

# Bytecode is kept, whatever the environment says: else every process of the tests would compile all modules anew.
test-fast test test-slow: export PYTHONDONTWRITEBYTECODE =

install: $(STAMP)

# The exact versions of constraints.txt are known to work together on Python 3.11; other Pythons resolve their own.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or later is needed; say which: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	if $(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; \
	  then $(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,docs]'; \
	  else $(BIN)/python -m pip install --quiet -e '.[dev,docs]'; fi
	@touch $(STAMP)

demo: install
	$(BIN)/rlopt compare ppo --env CartPole-v1 --optimizers celo2 adam --seeds 8

# About half an hour on two cores: three seeds, from -20 to more than +15 (docs/atari.md).
pong: install
	$(BIN)/rlopt train ppo --env Pong-v5 --preset fast --optimizer adam --seeds 3

# For every edit: under a minute and a half on two cores. Rules, returns, losses, replay, statistics, report, structure.
FAST := $(addprefix tests/celo2/test_,checkpoint.py labels.py reference.py) \
  $(addprefix tests/agents/test_,returns.py actions.py permutation.py networks.py replay.py) \
  $(addprefix tests/metatrain/test_,pes.py batches.py) \
  $(addprefix tests/rlopt/,test_structure.py test_statistics.py report training/test_legacy.py)

test-fast: install
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal $(FAST)

# The second run below is given its files by name: looking through all files takes as long as its tests.
MESH = $(shell grep -rl --include='test_*.py' 'mark.mesh' tests)

# Most of a test is compilation, which uses one core, and takes a fifth longer for eight devices than for one.
test: install
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal --durations 20
	RLOPT_TESTS_DEVICES=8 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal -m 'mesh and not slow' $(MESH)

test-slow: install
	RLOPT_TESTS_OPTIMISED=1 RLOPT_TESTS_DEVICES=8 $(BIN)/python -m pytest -m slow

# The site in build/site. Broken links, missing references and warnings are errors, and so is what pages load from elsewhere.
# Not --quiet: what is not said is not counted.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	$(BIN)/python docs/site/check.py build/site

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install
	$(BIN)/python benchmarks/update_cost.py
	$(BIN)/python benchmarks/update_cost.py --seeds 16
	$(BIN)/python benchmarks/metatrain_speed.py
	$(BIN)/python benchmarks/train_speed.py

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
