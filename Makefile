# Checks and tests, with the tools of the project's own environment (made by `python3 launcher.py test`, or by `make setup`).
PYTHON := .venv/bin/python

.PHONY: check test setup format

check:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m pyright
	$(PYTHON) -c "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"

format:
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

test:
	python3 launcher.py test

setup:
	python3 launcher.py setup
