# make demo    street scene -> node over DDS -> overlay, metrics and images in demo/
# make test    lint, then all tests
# make quick   tests that need neither DDS nor PyTorch, in a minute
# make bench-check  check that no stage of the stream became slower, in two minutes
# make docs    build the documentation site into build/site
# make lint    ruff, words to avoid, import rules, mypy
# make format  format the sources with ruff
# make clean   remove the environment and all build outputs

SETUP := python3 scripts/bootstrap.py
BIN := .venv/bin

# Keep the libraries of another ROS installation out of .venv.
ifneq ($(ROS_DISTRO)$(_ROS_WHEELS_BOOTSTRAP_COMPLETE),)
unexport LD_LIBRARY_PATH
endif
unexport PYTHONPATH AMENT_PREFIX_PATH CMAKE_PREFIX_PATH _ROS_WHEELS_BOOTSTRAP_COMPLETE

.PHONY: demo test quick bench-check docs lint format clean setup-demo setup-test

demo: setup-demo
	$(BIN)/savos demo

test: lint
	$(BIN)/python -m pytest

quick: setup-test
	$(BIN)/python -m pytest -m fast

bench-check: setup-test
	$(BIN)/python -m pytest -s tests/speed/check_stages.py

docs: build/docs-env/made
	NO_MKDOCS_2_WARNING=1 build/docs-env/bin/mkdocs build --strict
	@echo "open build/site/index.html"

build/docs-env/made: requirements/lock-docs.txt | setup-demo
	$(BIN)/python -m venv --clear build/docs-env
	build/docs-env/bin/pip install -qq --disable-pip-version-check --require-hashes -r $<
	touch $@

lint: setup-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python scripts/words.py
	$(BIN)/lint-imports
	$(BIN)/mypy

format: setup-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

setup-demo:
	@$(SETUP) demo

setup-test:
	@$(SETUP) test

clean:
	rm -rf .venv build install log demo *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
