#!/bin/sh
# Installs TensorRT's Python bindings, of the very version that the image's library has: install-tensorrt.sh DIR
# They come without hashes: which version they are is known only here.
set -eu

library=$(find /usr /opt -name 'libnvinfer.so.*.*.*' -type f | sort | tail -n 1)
if [ -z "$library" ]; then
    echo "There is no TensorRT in this image, so its server runs no engines."
    exit 0
fi
version=${library##*/libnvinfer.so.}
cuda=${CUDA_VERSION:?is not set in this image, which has TensorRT $version}
case $version in
    8.*) package=tensorrt-bindings ;;
    *) package=tensorrt-cu${cuda%%.*}-bindings ;;
esac
python3 -m pip install --no-deps --only-binary :all: --target "$1" "$package==$version.*"
# The module `tensorrt` itself is in another package, which brings the libraries a second time.
mkdir "$1/tensorrt"
echo "from tensorrt_bindings import *; from tensorrt_bindings import __version__" >"$1/tensorrt/__init__.py"
