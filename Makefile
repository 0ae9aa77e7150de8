# The handful of commands of this repository; each one sets up .venv by itself.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
RUN    := runs/demo
BENCH  := runs/bench
GALLERY ?= 1
MINUTES ?= 60

.PHONY: help demo test test-long test-avx2 lint docs bench bench-cuda gpu wheels clean

help:   ## show these commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/demo   ## train a character model on the embedded corpus; perplexity, curve and sample in runs/demo
	$(BIN)/rondeau train --output $(RUN) --overwrite
	$(BIN)/rondeau generate $(RUN) --prompt "The " --length 400

test: $(VENV)/dev   ## run every test but the long ones, on as many cores as there are
	$(BIN)/python -m pytest -q -n auto --dist loadfile

test-long: $(VENV)/dev   ## the tests that take minutes, which `make test` leaves out
	$(BIN)/python -m pytest -q -n auto --dist loadfile -m long
	$(BIN)/python -m pytest -q -n auto --dist loadfile --device cuda-stand-in packages/tensor/tests packages/nn/tests \
		$(addprefix tests/test_,changes_in_place.py copies.py error_parity.py)

test-avx2: $(VENV)/dev   ## on x86-64: the kernels and the parity with PyTorch, compiled for a processor with AVX2 alone
	NUMBA_CPU_NAME=haswell NUMBA_CPU_FEATURES=+avx,+avx2,+fma,+sse4.2,+bmi,+bmi2 RONDEAU_CACHE=$(CURDIR)/$(VENV)/avx2 \
		$(BIN)/python -m pytest -q $(addprefix packages/kernels/tests/test_,product.py scalar.py sequence.py) \
		tests/test_recurrent_parity.py

lint: $(VENV)/dev   ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy packages/*/src tools

docs: $(VENV)/docs   ## build the site into docs/_build/html (GALLERY=0: without running the gallery)
	$(BIN)/sphinx-build -W --keep-going -D plot_gallery=$(GALLERY) -b html docs docs/_build/html
	$(BIN)/python tools/check_links.py docs/_build/html

bench: $(VENV)/bench   ## our own history (asv, quick) and the ratios against PyTorch; rows and plots in runs/bench
	cd asv_benchmarks && ../$(BIN)/asv machine --yes
	cd asv_benchmarks && ../$(BIN)/asv run --quick --show-stderr --python=same --set-commit-hash=$$(git rev-parse HEAD)
	$(COMPARE) loops --check
	$(COMPARE) layers --pairs 5 --json $(BENCH)/layers.json
	$(COMPARE) precision --pairs 5 --json $(BENCH)/precision.json
	$(COMPARE) loops --pairs 3 --compile-limit 0 --json $(BENCH)/loops.json
	$(COMPARE) loops --pairs 3 --threads 2 --size 32 35 28 256 --json $(BENCH)/compiled.json
	$(COMPARE) cells --pairs 5 --json $(BENCH)/cells.json
	$(COMPARE) memory --json $(BENCH)/memory.json
	$(COMPARE) scaling --pairs 3 --threads 2 --json $(BENCH)/scaling.json
	$(COMPARE) pauses --json $(BENCH)/pauses.json
	$(COMPARE) cold --pairs 3 --json $(BENCH)/cold.json
	$(COMPARE) information --pairs 3 --threads 2 --json $(BENCH)/information.json
	$(COMPARE) streaming --json $(BENCH)/streaming.json
	$(COMPARE) int8 --threads 1 --json $(BENCH)/int8.json
	$(COMPARE) exported --json $(BENCH)/exported.json
	$(COMPARE) lenet --json $(BENCH)/lenet.json
	$(COMPARE) words --json $(BENCH)/words.json
	$(COMPARE) stepped --threads 1 --json $(BENCH)/stepped.json
	$(COMPARE) operations --pairs 3 --json $(BENCH)/operations.json
	$(COMPARE) parts --pairs 3 --json $(BENCH)/parts.json
	$(BIN)/python tools/plot_comparison.py $(BENCH) $(BENCH)

COMPARE = $(BIN)/python tools/compare_with_torch.py

bench-cuda: $(VENV)/cuda   ## on a machine with a GPU: check it, measure it beside PyTorch, and fill docs/explanation/gpu_kernels.md
	$(BIN)/python -m tools.cuda_check --minutes $(MINUTES) --json docs/explanation/data/cuda.json; \
		status=$$?; test $$status = 2 || $(BIN)/python -m tools.cuda_page; exit $$status

# Asked first, for the packages are large.
$(VENV)/cuda: | gpu
gpu:
	@$(PYTHON) -m tools.cuda_check.driver

wheels: $(VENV)/dev   ## build the six wheels into dist/
	rm -rf dist
	for package in kernels tensor nn export data train; do $(BIN)/python -m build --wheel --outdir dist packages/$$package || exit 1; done

clean:   ## remove what the other commands made
	rm -rf $(VENV) dist docs/_build docs/reference/generated docs/generated_gallery docs/jupyter_execute asv_benchmarks/.asv runs

# One stamp file for each set of extras, made anew when the dependencies change.
$(VENV)/demo: EXTRAS := plot
$(VENV)/dev: EXTRAS := dev
$(VENV)/docs: EXTRAS := docs
$(VENV)/bench: EXTRAS := bench,parity,plot
$(VENV)/cuda: EXTRAS := cuda,parity
$(VENV)/demo $(VENV)/dev $(VENV)/docs $(VENV)/bench $(VENV)/cuda: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[$(EXTRAS)]"
	@touch $@
