# make demo    street scene -> node over DDS -> overlay, table and pictures in demo/
# make test    lint, then every test
# make quick   the tests that need neither DDS nor PyTorch, in a minute
# make docs    the documentation as a site, into build/site
# make lint    ruff, then who imports whom, then mypy
# make format  let ruff rewrite the sources
# make clean   remove the environment and everything that was built

SETUP := python3 scripts/bootstrap.py
BIN := .venv/bin

# Another ROS installation in the environment would mix its libraries with those of .venv.
ifneq ($(ROS_DISTRO)$(_ROS_WHEELS_BOOTSTRAP_COMPLETE),)
unexport LD_LIBRARY_PATH
endif
unexport PYTHONPATH AMENT_PREFIX_PATH CMAKE_PREFIX_PATH _ROS_WHEELS_BOOTSTRAP_COMPLETE

.PHONY: demo test quick docs lint format clean setup-demo setup-test

demo: setup-demo
	$(BIN)/savos demo

test: lint
	$(BIN)/python -m pytest

quick: setup-test
	$(BIN)/python -m pytest -m fast

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
