#!/usr/bin/env bash
# Benches a model in the embedded server with Triton's own TensorRT backend, and compares what it answers with the engines
# run without a server: own.sh REPOSITORY MODEL BACKENDS
# IMAGES=DIR has the images, where those of the build are not on this machine.
# CUDA="graphs: false" measures without CUDA graphs: it stands in the place of `graphs: true` in a copy of the configs.
set -euo pipefail
work=$(mktemp -d)
log=$work/log
repository=$1
if [ -n "${CUDA:-}" ]; then
    repository=$work/repository
    cp -r "$1" "$repository"
    sed -i "s/graphs: true/$CUDA/" "$repository"/*_runtime/config.pbtxt
fi
TMPDIR=$work qtriton serve "$repository" --backends "$3" --grpc-port 18001 --http-port 18000 --metrics-port 18002 2>"$log" &
server=$!
trap 'kill -TERM $server 2>/dev/null; wait $server || true; rm -rf "$work"' EXIT
until grep -q ^Ready: "$log"; do
    kill -0 $server || { cat "$log"; exit 1; }
    sleep 0.5
done
grep -hi "cuda graph" "$work"/qtriton-*/triton.log || true # Triton tells only of what it cannot capture
images=${IMAGES:-$(python - "$1" "$2" <<'PY'
import sys
from pathlib import Path
from qtriton.repository.read import Repository
print(next(iter(Repository.open(Path(sys.argv[1])).manifests(sys.argv[2]).values())).images)
PY
)}
qtriton bench --url localhost:18001 --model "$2" --images "$images" --requests "${REQUESTS:-1000}"
python "$(dirname "$0")/same.py" "$repository" "$2" localhost:18001
curl --silent localhost:18002/metrics | grep ^nv_pinned_memory_pool || true
