"""How config.pbtxt is spelled, where protobuf's parser for Python differs from the server's; and what else others write."""

from typing import Final

from e2e.check_cases.case import Case, config, model, one, tensor


def _batch(name: str, text: str, refused: str = "") -> Case:
    return Case(f"spelling-{name}", model(config().replace("max_batch_size: 4", f"max_batch_size: {text}")), refused)


def _slots(name: str, text: str) -> Case:
    return one(f"spelling-{name}", f"sequence_batching {{ direct {{ minimum_slot_utilization: {text} }} }}")


def _tag(name: str, text: str, refused: str = "") -> Case:
    return one(f"spelling-{name}", f'metric_tags {{ key: "a" value: {text} }}', refused)


_LABELS: Final = model(config(outputs=tensor("output", "y", extra='label_filename: "labels"')))

SPELLING: Final = (
    _batch("plus", "+4", "config-spelling"),
    _batch("hexadecimal", "0x4"),
    _batch("underscore", "1_0", "config-spelling"),
    _slots("exponent", "1e-1"),
    _slots("exponent-plus", "1e+0"),
    _slots("no-number", "nan"),
    one("spelling-minus-apart", "instance_group { count: - 1 kind: KIND_CPU }", also=("instance-count",)),
    _tag("escape-unknown", r'"\q"', "config-spelling"),
    _tag("escapes", r"""'\n\x41 +1 1_0 - 1 \"'""" + ' # +1 "\\q"\n'),
    Case("spelling-labels", {**_LABELS, "@/labels": "a"}),
    Case("spelling-labels-folder", {**_LABELS, "@/labels/x": "a"}, "label-file-missing", alone=True),
)
