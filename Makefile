# `make test` sets up .venv in this checkout and runs the linters and the tests.
PYTHON ?= python3

.PHONY: test
test: .venv/.ready
	.venv/bin/ruff check generator tests
	.venv/bin/mypy
	.venv/bin/python -m pytest

.venv/.ready: pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 10) <= v < (3, 13) else "Python 3.10 to 3.12 is needed, this is %d.%d: make PYTHON=python3.11" % v)'
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet -e '.[dev]'
	touch $@
