#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: builds, checks, times and benches one model in TensorRT, all four columns.
#   tests/gpu/run.sh REPOSITORY MODEL [options of qtriton build, such as --weights FILE --calibration DIR ...]
# Needs: pip install '.[tensorrt]'. BACKENDS=DIR measures Triton's own backend (DIR/tensorrt/libtriton_tensorrt.so) too.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
repository=${1:?name a model repository}
model=${2:?name a model}
shift 2
for precision in fp16 int8 int8-fp16; do
    qtriton build "$model" --backend tensorrt --precision "$precision" --repository "$repository" "$@"
done
qtriton build "$model" --backend tensorrt --precision int8-fp16 --pinned-memory --repository "$repository" "$@"
qtriton check "$repository"
qtriton explain "$model" --repository "$repository"
python "$here/engines.py" "$repository" --model "$model"
echo "The embedded server, python-based backend:"
qtriton bench "$repository" --model "$model" --requests "${REQUESTS:-1000}"
if [ -n "${BACKENDS:-}" ]; then
    echo "The embedded server, Triton's own backend:"
    bash "$here/own.sh" "$repository" "$model" "$BACKENDS"
fi
