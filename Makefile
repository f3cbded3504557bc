# The first two commands: `make run` and `make test`. Both make .venv if need be.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# uv where it is on the path, or else pip. uv reads none of pip's settings, and is given those of the environment here.
UV := $(shell command -v uv)
comma := ,
ifdef PIP_FIND_LINKS
export UV_FIND_LINKS ?= $(subst $(empty) $(empty),$(comma),$(PIP_FIND_LINKS))
endif
INSTALL = $(if $(UV),uv pip install --python $(BIN)/python --compile-bytecode,$(BIN)/python -m pip install) --constraint constraints.txt --editable

.PHONY: run test check format bench reproduce uses verdicts faults chaos mutations clean

run: $(STAMP)
	$(BIN)/betaline run

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --no-loadscope-reorder

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python -m tests.audit

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Slow: prints tables, asserts nothing about time.
bench: $(STAMP)
	$(BIN)/python -m tests.benchmarks.ingest
	$(BIN)/python -m tests.benchmarks.train_throughput
	$(BIN)/python -m tests.benchmarks.conv_throughput
	$(BIN)/python -m tests.benchmarks.step_costs
	$(BIN)/python -m tests.benchmarks.is_nll
	$(BIN)/python -m tests.benchmarks.promotion

# Slow: published tables at a budget of two CPU cores, written to tests/benchmarks/results/.
reproduce: $(STAMP)
	$(BIN)/python -m tests.benchmarks.reproduce --table nll --budget cpu
	$(BIN)/python -m tests.benchmarks.reproduce --table disentanglement --budget cpu
	$(BIN)/python -m tests.benchmarks.reproduce --table imputation --budget cpu
	$(BIN)/python -m tests.benchmarks.promises

# Slow: what trained models are good for, each use against a yardstick; pages as above, pictures to docs/.
uses: $(STAMP)
	$(INSTALL) '.[bench]'
	for use in generate denoise impute interpolate traverse transfer edit augment score; do $(BIN)/python -m tests.benchmarks.uses --use $$use || exit 1; done

# Slow: 100 runs that go wrong and 100 sound ones against the verdict on them; goes on where it was interrupted.
verdicts: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.verdicts --processes 2

# Slow: kills real processes. The table of what was lost goes to tests/benchmarks/results/faults.md.
faults: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow tests --ignore tests/faults --ignore tests/cluster

# Slow: half an hour of a seeded adversary. Its log is chaos.jsonl, which `--replay` does again.
chaos: $(STAMP)
	$(BIN)/python -m tests.chaos

# Slow: plants faults of one line in copies of the code. The page goes to tests/benchmarks/results/mutations.md.
mutations: $(STAMP)
	$(BIN)/python -m tests.mutations

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)
	$(INSTALL) '.[dev]'
	touch $(STAMP)

clean:
	rm -rf $(VENV) .betaline
