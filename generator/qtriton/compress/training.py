"""Quantization-aware training with the FP32 model as teacher, by ACT; after a kill it resumes (in the worker).

ACT prepares the programs, quantizes the student and distils; ours is the loop: a fixed order of images, checkpoints,
evaluation on held-out images, and the best weights. The result is the trained weights in floating point: post-training
quantization then learns their ranges as it does for any model.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qtriton.compress.importing import MODEL_FILE, PARAMS_FILE
from qtriton.compress.mixed import is_quantizer, origin, quantized_from, save
from qtriton.compress.programs import load
from qtriton.recipe import QatOptions

#: One image of so many is held out to find the best weights, but at least MIN_HOLDOUT.
HOLDOUT_DIVISOR: Final = 8
MIN_HOLDOUT: Final = 4
_CHECKPOINT: Final = "checkpoint.npz"
_BEST: Final = "best.npz"

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class TrainingTask:
    """What is trained, and on what."""

    #: Tensors in which the student is to match the teacher, and the weight of each in the loss.
    nodes: Mapping[str, float]
    #: Parameters that may change.
    trainable: Sequence[str]
    feed: Callable[[int], Arrays]
    images: int
    options: QatOptions
    checkpoints: Path

    @property
    def holdout(self) -> range:
        """The images that are not trained on: the last ones."""
        count = max(MIN_HOLDOUT, self.images // HOLDOUT_DIVISOR)
        return range(max(1, self.images - count), self.images)

    @property
    def iterations(self) -> int:
        """How many images are trained on, one after the other."""
        epochs = self.options.epochs
        return self.options.iterations if epochs is None else epochs * self.holdout.start

    def rate(self, iteration: int) -> float:
        """The learning rate: it rises over the first twentieth, and falls to 0 as a cosine."""
        warmup = max(1, self.iterations // 20)
        factor = min(1.0, (iteration + 1) / warmup)
        return self.options.learning_rate * factor * (1 + math.cos(math.pi * iteration / self.iterations)) / 2

    def order(self, iteration: int) -> int:
        """The image of an iteration: every epoch takes each once, in an order of its own."""
        count = self.holdout.start
        epoch, place = divmod(iteration, count)
        return int(np.random.default_rng([self.options.seed, epoch]).permutation(count)[place])


def train(folder: Path, out: Path, task: TrainingTask, loader: Any, report: Callable[[int, int], None]) -> None:
    """Train the inference model in `folder` and write it, in floating point, to `out`.

    Args:
        folder: inference.pdmodel and inference.pdiparams with a batch of 1.
        out: a folder for the same files.
        task: what is trained, and on what.
        loader: a paddle.io.DataLoader of the images, which ACT asks for.
        report: called with the iterations done and their total.
    """
    import paddle
    from paddleslim.auto_compression import AutoCompression, compressor
    from paddleslim.quant import quanter

    paddle.seed(task.options.seed)
    task.checkpoints.mkdir(parents=True, exist_ok=True)
    # ACT makes everything trainable between loading the student and giving it to the optimizer, and has no other hook.
    recover = compressor.recover_inference_program
    compressor.recover_inference_program = lambda *arguments: _freeze(recover(*arguments), task.trainable)

    # Observers of every output take minutes to insert, and the ranges are learnt after the training.
    quanter.OutScaleForTrainingPass = _NoPass

    class Training(AutoCompression):  # type: ignore[misc]
        def _compiled_program(self, info: Any, strategy: str) -> Any:
            _keep_teacher_in_float(info.program)
            return super()._compiled_program(info, strategy)

        def _start_train(self, train: Any, test: Any, *_: Any) -> Any:
            _Loop(self._exe, train, test, task, _teacher_outputs(folder, task)).run(report)
            return test

        def _save_model(self, *_: Any) -> None:
            # ACT copies the files of this folder to save_dir.
            _write(folder, Path(self.tmp_dir) / "strategy_1", self._exe, load_arrays(task.checkpoints / _BEST))

    Training(
        model_dir=str(folder),
        model_filename=MODEL_FILE,
        params_filename=PARAMS_FILE,
        save_dir=str(out),
        config=_config(folder, task),
        train_dataloader=loader,
        eval_dataloader=loader,
    ).compress()


def _config(folder: Path, task: TrainingTask) -> dict[str, Any]:
    options = task.options
    return {
        "QuantAware": {
            "use_pact": False,
            "activation_quantize_type": "moving_average_abs_max",
            "weight_quantize_type": "channel_wise_abs_max",
            "onnx_format": True,
        },
        "Distillation": {
            "node": [[name] for name in task.nodes],
            "loss": ["l2"] * len(task.nodes),
            "alpha": list(task.nodes.values()),
            "teacher_model_dir": str(folder),
            "teacher_model_filename": MODEL_FILE,
            "teacher_params_filename": PARAMS_FILE,
        },
        "TrainConfig": {
            "train_iter": task.iterations,
            "learning_rate": options.learning_rate,
            "optimizer_builder": {"optimizer": {"type": "Adam"}},
        },
    }


def _freeze(program: Any, trainable: Sequence[str]) -> Any:
    """Let the optimizer change only some parameters.

    The statistics of the training data are kept, too: a few dozen images, one at a time, would ruin them.
    """
    for parameter in program.all_parameters():
        if parameter.name not in trainable:
            parameter.trainable, parameter.stop_gradient = False, True
    for op in program.global_block().ops:
        if op.type == "batch_norm":
            op._set_attr("use_global_stats", True)
        if op.type == "dropout":
            op._set_attr("dropout_prob", 0.0)
    return program


def _keep_teacher_in_float(program: Any) -> None:
    """Remove the quantizers of the teacher's matrix products: ACT (2.6.0) does not see their weights as parameters."""
    ops = program.global_block().ops
    source = quantized_from(ops)
    for op in ops:
        if is_quantizer(op):
            continue
        for name in op.input_arg_names:
            if (source_name := origin(name, source)) != name and source_name.startswith("teacher_"):
                op._rename_input(name, source_name)


class _NoPass:
    """A pass that changes nothing."""

    def __init__(self, **_: Any) -> None: ...

    def apply(self, graph: Any) -> Any:
        return graph


class _Loop:
    def __init__(self, executor: Any, train: Any, test: Any, task: TrainingTask, teacher_outputs: list[Arrays]) -> None:
        self._exe, self._train, self._test = executor, train, test
        self._task, self._teacher_outputs = task, teacher_outputs
        program = train.program._program
        # The teacher does not change; fetch and feed hold no tensor.
        state = [
            var.name
            for var in program.list_vars()
            if var.persistable and var.name not in ("feed", "fetch") and not var.name.startswith("teacher_")
        ]
        # ACT names the averages of the activations by addresses in memory; a name by their owner is the same in the
        # next process.
        owners = {
            op.input(role)[0]: f"{op.input('X')[0]}@{role}"
            for op in program.global_block().ops
            for role in ("InAccum", "InState")
            if role in op.input_names and op.input(role)
        }
        # ACT's passes write a new program, which drops a scheduler of Paddle's (measured: the rate does not change).
        self._rate = next(op.input("LearningRate")[0] for op in program.global_block().ops if op.type == "adam")
        self._state = {owners.get(name, name): name for name in state}

    def run(self, report: Callable[[int, int], None]) -> None:
        options, iterations = self._task.options, self._task.iterations
        done, best = self._resume()
        while done < iterations:
            _set({self._rate: np.array([self._task.rate(done)], np.float32)})
            feed = self._task.feed(self._task.order(done))
            self._exe.run(self._train.program, feed=feed, fetch_list=self._train.fetch_targets)
            done += 1
            last = done == iterations
            if done % options.evaluate_every == 0 or last:
                distance = self._distance()
                print(f"iteration {done}: {distance:.6g} from the teacher", file=sys.stderr, flush=True)
                if distance < best:
                    best = distance
                    best_weights = _arrays({name: name for name in self._task.trainable})
                    save_arrays(self._task.checkpoints / _BEST, best_weights)
            if done % options.checkpoint_every == 0 or last:
                note = np.array(json.dumps({"done": done, "best": best}))
                save_arrays(self._task.checkpoints / _CHECKPOINT, {**_arrays(self._state), "": note})
            report(done, iterations)

    def _resume(self) -> tuple[int, float]:
        path = self._task.checkpoints / _CHECKPOINT
        if not path.is_file():
            return 0, float("inf")
        arrays = load_arrays(path)
        note = json.loads(str(arrays.pop("")))
        _set({self._state[key]: array for key, array in arrays.items()})
        return int(note["done"]), float(note["best"])

    def _distance(self) -> float:
        """How far the student is from the teacher on the images that are held out."""
        names = list(self._task.nodes)
        total = 0.0
        for index, teacher in zip(self._task.holdout, self._teacher_outputs, strict=True):
            outputs = self._exe.run(self._test.program, feed=self._task.feed(index), fetch_list=names)
            for name, array in zip(names, outputs, strict=True):
                total += self._task.nodes[name] * float(((array - teacher[name]) ** 2).mean())
        return total / len(self._teacher_outputs)


def _arrays(names: Mapping[str, str]) -> Arrays:
    """The values of variables, by the keys of their names."""
    import paddle

    scope = paddle.static.global_scope()
    variables = {key: scope.find_var(name) for key, name in names.items()}
    return {
        key: np.array(var.get_tensor())
        for key, var in variables.items()
        if var is not None and var.get_tensor()._is_initialized()
    }


def _set(arrays: Arrays) -> None:
    import paddle

    scope = paddle.static.global_scope()
    for name, array in arrays.items():
        scope.var(name).get_tensor().set(array, paddle.CPUPlace())


def _teacher_outputs(folder: Path, task: TrainingTask) -> list[Arrays]:
    """The teacher's outputs for the images that are held out."""
    return run_nodes(folder, list(task.nodes), [task.feed(index) for index in task.holdout])


def run_nodes(folder: Path, names: Sequence[str], feeds: Sequence[Arrays]) -> list[Arrays]:
    """The values of some tensors of an inference model, for each feed."""
    import paddle

    scope, executor = paddle.static.Scope(), paddle.static.Executor(paddle.CPUPlace())
    with paddle.static.scope_guard(scope):
        program, _, _ = load(folder, executor)
        return [
            dict(zip(names, executor.run(program, feed=feed, fetch_list=list(names)), strict=True)) for feed in feeds
        ]


def _write(folder: Path, out: Path, executor: Any, trained: Arrays) -> None:
    """The model in `folder` with other values of some parameters."""
    import paddle

    with paddle.static.scope_guard(paddle.static.Scope()):
        program, feeds, fetches = load(folder, executor)
        _set(trained)
        save(out, program, feeds, fetches, executor, "trained")


def save_arrays(path: Path, arrays: Arrays) -> None:
    """Write arrays under any names, as a whole or not at all."""
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    names = sorted(arrays)
    with staged.open("wb") as file:
        np.savez(file, names=np.array(names), **{f"a{index}": arrays[name] for index, name in enumerate(names)})
        file.flush()
        os.fsync(file.fileno())
    staged.replace(path)


def load_arrays(path: Path) -> Arrays:
    """Read what `save_arrays` wrote."""
    with np.load(path, allow_pickle=False) as archive:
        return {str(name): archive[f"a{index}"] for index, name in enumerate(archive["names"])}
