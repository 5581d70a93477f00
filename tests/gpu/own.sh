#!/usr/bin/env bash
# Benches a model in the embedded server with Triton's own TensorRT backend: own.sh REPOSITORY MODEL BACKENDS
set -euo pipefail
log=$(mktemp)
qtriton serve "$1" --backends "$3" --grpc-port 18001 --http-port 18000 --metrics-port 18002 2>"$log" &
server=$!
trap 'kill -TERM $server 2>/dev/null; wait $server || true; rm -f "$log"' EXIT
until grep -q ^Ready: "$log"; do
    kill -0 $server || { cat "$log"; exit 1; }
    sleep 0.5
done
images=$(python - "$1" "$2" <<'PY'
import sys
from pathlib import Path
from qtriton.repository.read import Repository
print(next(iter(Repository.open(Path(sys.argv[1])).manifests(sys.argv[2]).values())).images)
PY
)
qtriton bench --url localhost:18001 --model "$2" --images "$images" --requests "${REQUESTS:-1000}"
curl --silent localhost:18002/metrics | grep ^nv_pinned_memory_pool || true
