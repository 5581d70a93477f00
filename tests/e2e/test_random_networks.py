"""Random networks, quantized with exact ranges: right to 25 dB, or refused. QTRITON_NETWORKS=2000 tries more."""

import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from qtriton.compress.scales import LearntLayer, Scales
from qtriton.errors import CompressionError
from qtriton.quantize.graph import GraphView
from qtriton.quantize.match import layer_result, layer_tensors, layers_of, match_layers, pair_layers
from qtriton.quantize.observe import observe
from qtriton.quantize.plausible import check_ranges
from qtriton.quantize.qdq import emit, load_simplified
from qtriton.target import Method, Precision, Target

from .networks import SIZE, Floats, network

NETWORKS = int(os.environ.get("QTRITON_NETWORKS", "200"))
#: Networks of one test.
PART = 20
TARGETS = [Target("onnxruntime", Precision.INT8, vnni=vnni) for vnni in (True, False)]


def images(seed: int) -> Floats:
    return np.random.default_rng(seed).normal(size=(6, 3, SIZE, SIZE)).astype(np.float32)


def exact_scales(path: Path, batch: Floats) -> Scales:
    """The scales that abs_max learns, in an order that is not the graph's, paired by what the layers read and give."""
    model = load_simplified(path)
    view = GraphView(model)
    seen = observe(model, batch, {}, layer_tensors(view), [0, 3])
    learnt: list[LearntLayer] = []
    for node, weight in layers_of(view):
        result = layer_result(view, node)
        source, output = seen.largest(node.input[0]), seen.largest(result)
        assert source is not None and output is not None
        transposed = node.op_type == "Gemm"
        learnt.append(
            LearntLayer(
                f"l{len(learnt)}", "conv2d" if node.op_type == "Conv" else "matmul_v2",
                weight.T if transposed else weight, float(source.max()), float(output.max()),
                read=seen.fingerprints[node.input[0]], given=seen.fingerprints[result],
            )
        )  # fmt: skip
    np.random.default_rng(len(learnt)).shuffle(learnt)  # type: ignore[arg-type]
    paired = pair_layers(view, learnt, seen.fingerprints)
    scales = Scales(Method.PTQ, "abs_max", paired, (float(batch.min()), float(batch.max())))
    check_ranges(view, scales, seen)
    for name, layer in match_layers(view, paired).items():
        expected = seen.largest(layer.node.input[0])
        assert expected is not None
        assert layer.learnt.input_threshold == pytest.approx(float(expected.max()), rel=1e-3), f"{name}: not its range"
    return scales


def run(path: Path, batch: Floats) -> Floats:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    result: Floats = session.run(None, {"image": batch})[0]
    return result


def sqnr(expected: Floats, actual: Floats) -> float:
    """Of the signal, without its mean over the images, to the noise, in dB."""
    noise = float(((actual - expected) ** 2).sum())
    return 10 * float(np.log10((expected**2).sum() / max(noise, 1e-30)))


@pytest.mark.parametrize("part", range(NETWORKS // PART))
def test_int8_is_right_or_refused(part: int, tmp_path: Path) -> None:
    wrong, refused = [], 0
    for seed in range(part * PART, (part + 1) * PART):
        onnx.save(network(seed), str(tmp_path / "fp32.onnx"))
        batch = images(seed)
        try:
            scales = exact_scales(tmp_path / "fp32.onnx", batch)
            expected = run(tmp_path / "fp32.onnx", batch)
            for target in TARGETS:
                emit(tmp_path / "fp32.onnx", scales, target, tmp_path / "int8.onnx")
                if (signal := sqnr(expected, run(tmp_path / "int8.onnx", batch))) < 25:
                    wrong.append(f"network({seed}), {'VNNI' if target.vnni else 'no VNNI'}: {signal:.1f} dB")
        except CompressionError as error:
            refused += 1
            print(f"network({seed}) is refused: {error}")
    assert not wrong, "\n".join(wrong)
    assert refused < PART / 4, "most networks can be quantized"
