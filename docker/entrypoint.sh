#!/bin/sh
# Builds what the repository in /models (or $QTRITON_MODELS) still lacks, then runs tritonserver under qtriton's
# supervisor; arguments go to tritonserver.
set -eu

# Where ONNX Runtime and Paddle keep the engines that they build themselves.
ln -sfn "$QTRITON_CACHE" /tmp/qtriton
# It stays as it is: what is served are links to it, with the engines among them.
repository=/tmp/repository

# Process 1 hears SIGTERM only if it says so, and a shell only while it waits; so whatever takes long is its child.
child='' stopping=''
trap 'stopping=1; kill "$child" 2>/dev/null || :' TERM INT
run() { # COMMAND... 3<INPUT
    "$@" <&3 &
    child=$!
    test -z "$stopping" || kill "$child"
    # A signal ends the wait, but not yet the child.
    until wait "$child"; code=$?; ! kill -0 "$child" 2>/dev/null; do :; done
    return "$code"
}

run qtriton engines build "${QTRITON_MODELS:-/models}" --into "$repository" 3</dev/null

# What is open: health, inference, metadata, statistics, and configs and the index of the models, which the client
# reads. The rest is locked with a key that nobody knows; models are never loaded on demand.
locked=shared-memory,trace,logging
key=$(cat /proc/sys/kernel/random/uuid)
# Tritons of 2025 have it.
pool=--grpc-max-response-pool-size
case $(tritonserver --help 2>&1) in
    *"$pool"*) set -- "$pool=128" "$@" ;;
esac
# The loading of another model would end the capture of a CUDA graph.
if grep -Eqs '\bgraphs *: *(true|True|t|1)\b' "$repository"/*/config.pbtxt; then
    set -- --model-load-thread-count=1 "$@"
fi
# It waits 3 seconds for clients, and docker kills what does not end within 10.
run python3 -IBS /opt/qtriton/qtriton/server/supervisor.py tritonserver \
    --model-repository="$repository" \
    --model-control-mode=none \
    --disable-auto-complete-config \
    --strict-readiness=true \
    --exit-on-error=true \
    --exit-timeout-secs=5 \
    --log-format=ISO8601 \
    --http-port=8000 --grpc-port=8001 --metrics-port=8002 \
    --http-restricted-api="$locked:qtriton=$key" \
    --grpc-restricted-protocol="$locked:qtriton=$key" \
    "$@" >/dev/null 3<<END
{"parent": $$, "http": ["127.0.0.1", 8000], "ports": [8000, 8001], "drain_s": 3, "grace_s": 6, "folder": "$repository"}
END
