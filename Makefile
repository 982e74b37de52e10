# make demo    street scene -> node over DDS -> overlay, table and pictures in demo/
# make test    lint, then every test
# make lint    ruff alone
# make format  let ruff rewrite the sources
# make clean   remove the environment and everything that was built

SETUP := python3 scripts/bootstrap.py
BIN := .venv/bin

# Another ROS installation in the environment would mix its libraries with those of .venv.
ifneq ($(ROS_DISTRO)$(_ROS_WHEELS_BOOTSTRAP_COMPLETE),)
unexport LD_LIBRARY_PATH
endif
unexport PYTHONPATH AMENT_PREFIX_PATH CMAKE_PREFIX_PATH _ROS_WHEELS_BOOTSTRAP_COMPLETE

.PHONY: demo test lint format clean setup-demo setup-test

demo: setup-demo
	$(BIN)/savos demo

test: lint
	$(BIN)/python -m pytest

lint: setup-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

setup-demo:
	@$(SETUP) demo

setup-test:
	@$(SETUP) test

clean:
	rm -rf .venv build install log demo *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
