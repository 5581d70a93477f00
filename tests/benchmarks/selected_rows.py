"""Whether the selected rows of a detector have all that its evaluation reports, on real images.

    qtriton build yolov5n ... --placement steps
    python tests/benchmarks/selected_rows.py yolov5n model_repository/NAME_runtime/1/model.onnx validation/images

Evaluation looks at more (box, class) pairs than there are selected rows, so it is not given that it sees the same. The
ONNX file, which must give the whole head, runs in ONNX Runtime.
"""

import argparse
from pathlib import Path

import numpy as np
import onnxruntime

from qtriton import console
from qtriton.builder.evaluate import evaluation_ops
from qtriton.datasets import list_images
from qtriton.placement.selection import RowSelection
from qtriton.placement.split import epilogue_of
from qtriton.runtime.post import postprocess
from qtriton.runtime.pre import preprocess
from qtriton.spec_files import load_spec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="Its name in the zoo, or its spec.")
    parser.add_argument("onnx", type=Path)
    parser.add_argument("images", type=Path)
    arguments = parser.parse_args()
    spec = load_spec(arguments.model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(arguments.onnx, options, providers=["CPUExecutionProvider"])
    images = list_images(arguments.images, "images")
    likely, differ = 0, 0
    for path in images:
        frame = preprocess(path.read_bytes(), spec.preprocess, spec.max_pixels)
        (whole, *_) = session.run(None, {spec.input.name: frame.pixels[np.newaxis]})
        epilogue = epilogue_of(spec, whole.shape, "FP32")
        assert epilogue is not None and isinstance(epilogue.does, RowSelection), "no rows are selected of this model"
        does, (head, *_) = epilogue.does, epilogue.behind
        rows = whole[0] if does.axis == 1 else whole[0].T
        scores = rows[:, slice(*does.scores)].max(axis=1)
        scores *= 1 if does.objectness is None else rows[:, does.objectness]
        selected = rows[np.argsort(-scores, kind="stable")[: does.count]]
        behind = evaluation_ops(spec)[1:]
        all_found, found = (postprocess([each], frame.geometry, (head, *behind)) for each in (rows, selected))
        likely = max(likely, int((scores > spec.evaluation["score_threshold"]).sum()))
        differ += any(not np.array_equal(all_found[name], found[name]) for name in found)
    console.text(f"{len(images)} images, at most {likely} rows over the threshold; results differ in {differ} images.")


if __name__ == "__main__":
    main()
