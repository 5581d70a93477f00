"""Export four Paddle models with random weights as Paddle inference models: `python export.py FOLDER`.

Each has the architecture, the inputs and the outputs that the export of its own library gives it. What the models
answer is meaningless, and nothing is downloaded.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

# Before paddle: otherwise the process crashes when ppdet loads pycocotools (paddlepaddle 2.6.2).
import scipy  # noqa: F401
import sklearn  # noqa: F401

# isort: split
import paddle
from paddle.nn import BatchNorm, BatchNorm2D, Layer
from paddle.nn.functional import interpolate
from paddle.static import InputSpec
from paddleclas import MobileNetV1, ResNet50_vd
from paddleseg.deploy.export import WrappedModel
from paddleseg.models import STDC1, PPLiteSeg
from ppdet.modeling.architectures.yolo import YOLOv3
from ppdet.modeling.backbones.cspresnet import CSPResNet
from ppdet.modeling.heads.ppyoloe_head import PPYOLOEHead
from ppdet.modeling.initializer import normal_
from ppdet.modeling.layers import MultiClassNMS
from ppdet.modeling.necks.custom_pan import CustomCSPPAN

SEED: Final = 0
#: A model and the specification of its one argument: a tensor, or several by name.
Exportable: TypeAlias = tuple[Layer, Any]


def classifier(backbone: Layer) -> Exportable:
    """A PaddleClas classifier as its export writes it: with a softmax at the end, for 224 x 224 images."""
    return paddle.nn.Sequential(backbone, paddle.nn.Softmax(axis=-1)), _tensor("x", 3, 224, 224)


def resnet50_vd() -> Exportable:
    """ResNet50_vd of PaddleClas, for the 1000 classes of ImageNet."""
    return classifier(ResNet50_vd(pretrained=False, class_num=1000))


def mobilenet_v1() -> Exportable:
    """MobileNetV1 of PaddleClas, for the 1000 classes of ImageNet; MobileNetV1_ssld is the same net."""
    return classifier(MobileNetV1(pretrained=False, class_num=1000))


def ppyoloe_crn_l() -> Exportable:
    """PP-YOLOE-l of PaddleDetection (configs/ppyoloe/_base_/ppyoloe_crn.yml), for COCO's 80 classes, with its NMS."""
    backbone = CSPResNet(use_large_stem=True)
    neck = CustomCSPPAN(
        in_channels=[shape.channels for shape in backbone.out_shape],
        out_channels=[768, 384, 192],
        act="swish",
        spp=True,
    )
    head = PPYOLOEHead(
        in_channels=[shape.channels for shape in neck.out_shape],
        num_classes=80,
        static_assigner=None,  # the assigners only serve training
        assigner=None,
        nms=MultiClassNMS(score_threshold=0.01, nms_top_k=1000, keep_top_k=300, nms_threshold=0.7),
        eval_size=[640, 640],
    )
    randomize(head)
    model = YOLOv3(backbone=backbone, neck=neck, yolo_head=head, post_process=None)
    return model, {"image": _tensor("image", 3, 640, 640), "scale_factor": _tensor("scale_factor", 2)}


def pp_liteseg_stdc1() -> Exportable:
    """PP-LiteSeg-T (STDC1) of PaddleSeg, for the 19 classes of Cityscapes, answering each pixel's class."""
    model = PPLiteSeg(
        num_classes=19,
        backbone=STDC1(pretrained=None),
        arm_out_chs=[32, 64, 128],
        seg_head_inter_chs=[32, 64, 64],
        pretrained=None,
    )
    return WrappedModel(model, "argmax"), _tensor("x", 3, 512, 1024)


#: By the names of the zoo's entries.
MODELS: Final[dict[str, Callable[[], Exportable]]] = {
    "resnet50_vd": resnet50_vd,
    "mobilenet_v1_ssld": mobilenet_v1,
    "ppyoloe_crn_l_300e_coco": ppyoloe_crn_l,
    "pp_liteseg_stdc1_cityscapes": pp_liteseg_stdc1,
}


def randomize(head: PPYOLOEHead) -> None:
    """Give the last layers of a PP-YOLOE head random weights.

    PaddleDetection starts them at zero: every anchor would answer the same box and scores, whatever the image. Its bias
    stands for a score of 0.01, so the weights of the classes are large: some scores must pass the threshold.
    """
    for layers, spread in ((head.pred_cls, 8.0), (head.pred_reg, 1.0)):
        for layer in layers:
            _, *fan_in = layer.weight.shape
            normal_(layer.weight, std=spread * math.prod(fan_in) ** -0.5)


def settle(model: Layer, spec: Any) -> None:
    """Set the statistics of all batch normalisations to those of made-up images.

    At their defaults (mean 0, variance 1) they normalise nothing: activations grow or vanish by orders of magnitude
    from layer to layer, the softmax saturates, and no two backends could be told apart.
    """
    model.eval()
    for layer in model.sublayers():
        if isinstance(layer, BatchNorm | BatchNorm2D):
            layer.train()
            layer._momentum = 0.0  # the statistics become those of one pass
    with paddle.no_grad():
        model({name: _sample(part) for name, part in spec.items()} if isinstance(spec, dict) else _sample(spec))


def fuse_branches(model: Layer) -> None:
    """Make one convolution of every RepVGG block's two, as PaddleDetection's export does."""
    for layer in model.sublayers():
        if hasattr(layer, "convert_to_deploy"):
            layer.convert_to_deploy()


def export(name: str, folder: Path) -> None:
    """Write inference.pdmodel and inference.pdiparams of one model; the weights are the same every time."""
    paddle.seed(SEED)
    with paddle.utils.unique_name.guard():  # the same names in the file, whatever was exported before
        model, spec = MODELS[name]()
        settle(model, spec)
        fuse_branches(model)
        model.eval()
        paddle.jit.save(paddle.jit.to_static(model, input_spec=[spec]), os.fspath(folder / "inference"))


def _tensor(name: str, *dims: int) -> InputSpec:
    return InputSpec([None, *dims], "float32", name=name)


def _sample(spec: InputSpec) -> paddle.Tensor:
    """Four made-up images, from smooth colour gradients to strong noise; ones for any input but images."""
    shape = [4, *spec.shape[1:]]
    if len(shape) != 4:
        return paddle.ones(shape)
    noise = paddle.linspace(0, 1, 4).reshape([4, 1, 1, 1]) * paddle.randn(shape)
    return interpolate(paddle.randn([4, 3, 4, 4]), size=shape[2:], mode="bilinear") + noise


if __name__ == "__main__":
    paddle.set_device("cpu")
    for each in MODELS:
        export(each, Path(sys.argv[1]) / each)
