#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: builds the engines of a repository and prints their times, and on request accuracies.
#   tests/gpu/run.sh REPOSITORY [--model NAME --validation DIR --labels FILE]
# A repository comes from: qtriton build MODEL --backend tensorrt --precision fp16|int8|int8-fp16 ... (one run each).
# Needs: pip install '.[tensorrt]'
set -euo pipefail
repository=${1:?name the model repository}
shift
qtriton engines build "$repository"
qtriton check "$repository"
exec python "$(dirname "$0")/engines.py" "$repository" "$@"
