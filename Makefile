# Checks and tests, with the tools of the project's own environment (made by `python3 launcher.py test`, or by `make setup`).
PYTHON := .venv/bin/python

.PHONY: check lint types layers test setup format screenshots

check:
	@$(MAKE) --no-print-directory -j3 --output-sync=target lint types layers

lint:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

types:
	$(PYTHON) -m pyright

layers:
	$(PYTHON) -c "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"

format:
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

test:
	python3 launcher.py test

setup:
	python3 launcher.py setup

# the pictures in docs/screenshots: a real studio, the built-in model, Chromium
screenshots:
	$(PYTHON) -m tests.browser.screenshots
