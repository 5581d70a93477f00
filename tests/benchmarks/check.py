"""How long `qtriton check` takes on a repository of many models, beyond its imports; and thousands of mutated configs.

python tests/benchmarks/check.py --models 300 --mutations 2000
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

import onnx
from onnx import TensorProto, helper

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from qtriton.repository.check import Severity, check
from unit.test_check_any import mutated

CONFIG = """max_batch_size: 4
input { name: "x" data_type: TYPE_FP32 dims: [ 3 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ 3 ] }
"""


def write(repository: Path, models: int) -> None:
    """A third of them are ONNX files with a megabyte of weights, a third python models, a third ensembles of both."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in "xy")
    weights = helper.make_tensor("w", TensorProto.FLOAT, [2**18], bytes(2**20), raw=True)
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [x], [y], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    for number in range(0, models, 3):
        for name, head in (("onnx", 'platform: "onnxruntime_onnx"'), ("python", 'backend: "python"')):
            folder = repository / f"{name}{number}" / "1"
            folder.mkdir(parents=True)
            (folder.parent / "config.pbtxt").write_text(f"{head}\n{CONFIG}")
        onnx.save(model, str(repository / f"onnx{number}/1/model.onnx"))
        (repository / f"python{number}/1/model.py").write_text("class TritonPythonModel: ...\n")
        folder = repository / f"ensemble{number}" / "1"
        folder.mkdir(parents=True)
        (folder / "keep").touch()
        maps = 'input_map { key: "x" value: "%s" } output_map { key: "y" value: "%s" }'
        steps = (
            f'step {{ model_name: "onnx{number}" model_version: -1 {maps % ("x", "t")} }} '
            f'step {{ model_name: "python{number}" model_version: -1 {maps % ("t", "y")} }}'
        )
        text = f'platform: "ensemble"\n{CONFIG}ensemble_scheduling {{ {steps} }}'
        (folder.parent / "config.pbtxt").write_text(text)


def main() -> None:
    """Print the seconds of one check in this process, after its imports; then try the mutations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=300)
    parser.add_argument("--mutations", type=int, default=2000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "many"
        write(repository, 3)
        check(repository)
        write(Path(folder) / "more", given.models)
        start = time.perf_counter()
        problems = check(Path(folder) / "more", least=Severity.NOTE)
        print(f"{given.models} models: {time.perf_counter() - start:.2f} s, {len(problems)} problems")
        model = Path(folder) / "mutated/m/1"
        model.mkdir(parents=True)
        (model / "model.py").write_text("class TritonPythonModel: ...\n")
        for seed in range(given.mutations):
            (model.parent / "config.pbtxt").write_text(mutated(random.Random(seed)))
            check(model.parents[1], least=Severity.NOTE)
        print(f"{given.mutations} mutated configs: no exception")


if __name__ == "__main__":
    main()
