"""NNCF's post-training quantization for OpenVINO; runs in an environment of its own, without qtriton.

python nncf_peer.py model.onnx frames.npy out_folder
"""

import sys
from pathlib import Path

import nncf
import numpy as np
import openvino


def main(source: str, frames: str, out: str) -> None:
    model = openvino.Core().read_model(source)
    images = np.load(frames, mmap_mode="r")
    model.reshape({model.input(0): [1, *images.shape[1:]]})
    data = nncf.Dataset([np.array(image[np.newaxis]) for image in images])
    # MIXED (asymmetric activations) is what NNCF advises for nets with other activations than ReLU.
    preset = nncf.QuantizationPreset.MIXED
    quantized = nncf.quantize(model, data, preset=preset, subset_size=len(images), fast_bias_correction=False)
    openvino.save_model(quantized, Path(out) / "model.xml", compress_to_fp16=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
