#!/bin/sh
# Checks an image of docker/Dockerfile on this machine, a line a check: docker/verify.sh [IMAGE [REPOSITORY]]
# pass, fail or skipped; ends with 1 if one has failed. Needs the docker CLI and a repository that `qtriton build` made.
set -u

image=${1:-qtriton-server}
repository=$(cd "${2:-model_repository}" && pwd) || exit 2
command -v docker >/dev/null || { echo "error: there is no docker command here: install docker" >&2; exit 5; }
docker image inspect "$image" >/dev/null || { echo "error: docker build -t $image -f docker/Dockerfile ." >&2; exit 5; }
failed=0 container='' volume=qtriton-verify-$$
trap 'test -z "$container" || docker rm --force --volumes "$container" >/dev/null; docker volume rm --force "$volume" >/dev/null' EXIT
trap 'exit 130' INT TERM

pass() { echo "pass: $1"; }
skipped() { echo "skipped: $1: $2"; }
fail() { echo "fail: $1: $2"; failed=1; }
check() { # WHAT REASON COMMAND...
    what=$1 reason=$2
    shift 2
    if "$@" >/dev/null 2>&1; then pass "$what"; else fail "$what" "$reason"; fi
}
inside() { docker exec "$container" sh -c "$1"; }
denied() { ! inside "touch $1/qtriton-verify"; }
refused() { test "$(inside "python3 -c \"
import urllib.error, urllib.request
try: print(urllib.request.urlopen('http://127.0.0.1:8000/v2/$1').status)
except urllib.error.HTTPError as error: print(error.code)\"")" = 403; }
start() {
    # Locked memory is unlimited where the engine may do that.
    memlock=--ulimit=memlock=-1
    docker run --rm $memlock --entrypoint true "$image" >/dev/null 2>&1 || memlock=''
    # shellcheck disable=SC2086 # options that may be none
    container=$(docker run --detach --read-only --tmpfs=/tmp $memlock --ulimit=stack=67108864 --cap-drop=ALL \
        --security-opt=no-new-privileges --shm-size=1g $gpus -v "$repository:/models:ro" -v "$volume:/cache" "$image")
}
healthy() { # within 30 minutes: engines may be built
    for _ in $(seq 900); do
        case $(docker inspect --format '{{.State.Status}} {{.State.Health.Status}}' "$container") in
            "running healthy") return 0 ;;
            running*) sleep 2 ;;
            *) return 1 ;;
        esac
    done
    return 1
}
documented() { # WHAT: the version that the table of docker/README.md has for this release, or nothing
    awk -F ' *[|] *' -v release="$release" -v what="$1" '
        $2 == "" && !column { for (i = 3; i < NF; i++) if ($i == release) column = i }
        column && $2 == what { print $column; exit }' "$(dirname "$0")/README.md"
}
compare() { # WHAT FOUND
    what="$1 ${2:-is not there, which} is what docker/README.md says of $release"
    wanted=$(documented "$1")
    case $2 in
        "${wanted:-?}" | "${wanted:-?}".*) pass "$what" ;;
        *) fail "$what" "there it is ${wanted:-not named}" ;;
    esac
}
compare_versions() {
    # NVIDIA's images say themselves which release they are.
    release=$(inside "echo \"\$NVIDIA_TRITON_SERVER_VERSION\"")
    if [ -z "$release" ] || [ -z "$(documented Triton)" ]; then
        skipped "the versions are those of docker/README.md" "the image says release \"$release\", which is not there"
        return
    fi
    compare Triton "$(inside "python3 -c \"
import json, urllib.request
print(json.load(urllib.request.urlopen('http://127.0.0.1:8000/v2'))['version'])\"")"
    compare CUDA "$(inside "echo \"\$CUDA_VERSION\"")"
    compare Python "$(inside "python3 -c 'import platform; print(platform.python_version())'")"
    compare TensorRT "$(inside "find / -xdev -name 'libnvinfer.so.*.*.*' -type f 2>/dev/null" | sed 's/.*libnvinfer[.]so[.]//' | sort | tail -n 1)"
}
last_words() { docker logs "$container" 2>&1 | grep -E '^error: | E [0-9]+ ' | tail -n 1 | cut -c1-300; }
stop() {
    docker stop --time 30 "$container" >/dev/null
    ended=$(docker inspect --format '{{.State.ExitCode}}' "$container")
    docker rm --volumes "$container" >/dev/null
    container=''
    test "$ended" = 0
}

gpus=''
why='no GPU'
if docker run --rm --gpus=all --entrypoint nvidia-smi "$image" >/dev/null 2>&1; then gpus=--gpus=all; fi
recipes=$(find "$repository" -mindepth 3 -maxdepth 3 -path '*/[1-9]*/engine.json' | wc -l)

if [ "$gpus" ]; then
    check "TensorRT's bindings load" "python3 -c 'import tensorrt' fails in the image" docker run --rm $gpus \
        --env PYTHONPATH=/opt/qtriton --entrypoint python3 "$image" -c 'import tensorrt; tensorrt.Builder(tensorrt.Logger())'
else
    skipped "TensorRT's bindings load" "$why"
fi
for name in onnxruntime openvino tensorrt; do
    folder=/opt/tritonserver/backends/$name
    if docker run --rm --entrypoint test "$image" -e "$folder/libtriton_$name.so"; then
        pass "backend $name is Triton's own"
    elif docker run --rm --entrypoint test "$image" -e "$folder/model.py"; then
        skipped "backend $name is Triton's own" "the image has qtriton's"
    elif [ "$name" = onnxruntime ]; then
        fail "backend $name is Triton's own" "there is no $folder"
    else
        skipped "backend $name is Triton's own" "the image has none"
    fi
done

start
if healthy; then
    pass "serves the repository, read-only"
    compare_versions
    check "runs as user 1000 without capabilities" "see /proc/*/status of tritonserver" inside \
        'cd "/proc/$(pidof tritonserver)" && grep -qE "^Uid:.1000.1000" status && grep -qE "^CapEff:.0+\$" status'
    for place in / /models /opt/tritonserver; do
        check "$place cannot be written" "touch goes through" denied "$place"
    done
    check "/cache can be written" "user 1000 has no right to it" inside "touch /cache/x && rm /cache/x"
    for path in logging trace/setting systemsharedmemory/status; do
        check "v2/$path is locked" "it does not answer 403" refused "$path"
    done
    if stop; then pass "stops in order"; else fail "stops in order" "the exit code is $ended"; fi
else
    fail "serves the repository, read-only" "$(last_words)"
fi

what="an engine built at the first start is taken from /cache at the second"
if [ -z "$gpus" ]; then
    skipped "$what" "$why"
elif [ "$recipes" = 0 ]; then
    skipped "$what" "$repository has no model for TensorRT"
elif [ "$failed" = 1 ]; then
    skipped "$what" "see above"
else
    kept() { docker run --rm -v "$volume:/cache" --entrypoint sh "$image" -c 'find /cache -type f -exec stat -c "%n %Y" {} +' | sort; }
    before=$(kept)
    start
    if healthy && [ "$before" ] && [ "$before" = "$(kept)" ]; then pass "$what"; else fail "$what" "$(last_words)"; fi
fi
exit $failed
