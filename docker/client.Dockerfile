# The client alone, which measures a server: docker build -t qtriton-client -f docker/client.Dockerfile .
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
FROM ${PYTHON_IMAGE}
# hadolint ignore=DL3002
USER 0
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_BREAK_SYSTEM_PACKAGES=1 PIP_ROOT_USER_ACTION=ignore
COPY docker/requirements-client.txt /opt/qtriton/requirements-client.txt
RUN python3 -m pip install --require-hashes -r /opt/qtriton/requirements-client.txt
COPY clients /opt/qtriton
ENV PYTHONPATH=/opt/qtriton PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
USER 1000:1000
WORKDIR /tmp
ENTRYPOINT ["python3", "-m", "qtriton_client"]
