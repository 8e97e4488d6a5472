# Both targets set everything up on a machine that has Python 3.11 or newer and nothing else.
VENV ?= .venv
PYTHON ?= python3

.PHONY: demo test

demo: $(VENV)/installed
	$(VENV)/bin/arzhang train demo

test: $(VENV)/installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	OMP_NUM_THREADS=1 $(VENV)/bin/pytest -n auto --dist loadfile

$(VENV)/installed $(VENV)/installed-dev: pyproject.toml constraints.txt
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet -c constraints.txt -e '.$(if $(findstring dev,$@),[dev])'
	touch $@
