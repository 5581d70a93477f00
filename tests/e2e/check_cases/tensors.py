"""Inputs and outputs of a config, batching and queues."""

from typing import Final

from e2e.check_cases.case import Case, X, Y, config, model, one, tensor


def _x(dims: str = "[ 3 ]", dtype: str = "TYPE_FP32", extra: str = "") -> str:
    return tensor("input", "x", dims, dtype, extra)


def _y(dims: str = "[ 3 ]", dtype: str = "TYPE_FP32", extra: str = "") -> str:
    return tensor("output", "y", dims, dtype, extra)


TENSORS: Final = (
    one("plain"),
    one("no-tensor-name", inputs="input { data_type: TYPE_FP32 dims: [ 3 ] }", refused="tensor-name-missing"),
    one("no-data-type", inputs='input { name: "x" dims: [ 3 ] }', refused="tensor-type-missing"),
    one("no-dims", outputs='output { name: "y" data_type: TYPE_FP32 }', refused="tensor-dims-missing"),
    one("dims-zero", inputs=_x("[ 3, 0 ]"), refused="tensor-dims"),
    one("dims-minus-two", outputs=_y("[ -2 ]"), refused="tensor-dims"),
    one("dims-free", inputs=_x("[ -1, 3 ]"), outputs=_y("[ -1 ]")),
    one("data-type-number-known", inputs='input { name: "x" data_type: 11 dims: [ 3 ] }'),
    one("data-type-number-unknown", inputs='input { name: "x" data_type: 99 dims: [ 3 ] }', also=("enum-ignored",)),
    one("kind-number-unknown", "instance_group { kind: 4 }", refused="enum-unknown"),
    one("reshape-same", inputs=_x("[ 3, 4 ]", extra="reshape { shape: [ 12 ] }")),
    one("reshape-other", inputs=_x("[ 3, 4 ]", extra="reshape { shape: [ 11 ] }"), refused="reshape-size"),
    one("reshape-zero", inputs=_x("[ 3 ]", extra="reshape { shape: [ 3, 0 ] }"), refused="reshape-dims"),
    one("reshape-one", inputs=_x("[ 3 ]", extra="reshape { shape: [ 3, 1 ] }")),
    one("reshape-free", inputs=_x("[ 2, 4, -1, 6 ]", extra="reshape { shape: [ 8, -1, 1, 6 ] }")),
    one("reshape-free-other", inputs=_x("[ 2, -1 ]", extra="reshape { shape: [ -1, 2 ] }"), refused="reshape-size"),
    one("reshape-free-lost", inputs=_x("[ -1 ]", extra="reshape { shape: [ 1 ] }"), refused="reshape-size"),
    one("reshape-empty", inputs=_x("[ 1 ]", extra="reshape { shape: [ ] }")),
    one("reshape-empty-of-ones", inputs=_x("[ 1, 1 ]", extra="reshape { }")),
    one("reshape-empty-of-three", inputs=_x("[ 3 ]", extra="reshape { }"), refused="reshape-size"),
    one("reshape-empty-unbatched", batch=0, inputs=_x("[ 1 ]", extra="reshape { }"), refused="reshape-empty"),
    one("input-twice", inputs=X + X, also=("tensor-listed-twice",)),
    one("output-twice", outputs=Y + Y, also=("tensor-listed-twice",)),
    one("no-inputs", inputs="", also=("no-inputs",)),
    one("no-outputs", outputs="", also=("no-outputs",)),
    one("no-tensors-at-all", inputs="", outputs="", also=("no-inputs", "no-outputs")),
    one("format-nhwc", inputs=_x("[ 8, 8, 3 ]", extra="format: FORMAT_NHWC")),
    one("format-nhwc-of-two", inputs=_x("[ 8, 3 ]", extra="format: FORMAT_NHWC"), refused="format-needs-three-dims"),
    one(
        "format-nchw-of-four",
        inputs=_x("[ 1, 3, 8, 8 ]", extra="format: FORMAT_NCHW"),
        refused="format-needs-three-dims",
    ),
    one("format-unknown", inputs=_x(extra="format: 7"), also=("enum-ignored",)),
    one("shape-tensor", inputs=_x(extra="is_shape_tensor: true"), refused="tensorrt-only"),
    one("shape-tensor-false", inputs=_x(extra="is_shape_tensor: false")),
    one("shape-tensor-output", outputs=_y(extra="is_shape_tensor: true"), refused="tensorrt-only"),
    one("non-linear", outputs=_y(extra="is_non_linear_format_io: true"), refused="tensorrt-only"),
    one("profile", 'instance_group { kind: KIND_CPU profile: "0" }', refused="tensorrt-only"),
    one("ragged", inputs=_x("[ -1 ]", extra="allow_ragged_batch: true")),
    one("optional-input", inputs=X + tensor("input", "z", extra="optional: true")),
    # batches
    one("batch-negative", batch=-1, refused="batch-negative"),
    one("batch-zero", batch=0),
    one("dynamic", "dynamic_batching { }"),
    one("dynamic-unbatched", "dynamic_batching { }", batch=0, also=("dynamic-batching-unbatched",)),
    one("preferred", "dynamic_batching { preferred_batch_size: [ 2, 4 ] }"),
    one("preferred-zero", "dynamic_batching { preferred_batch_size: [ 0 ] }", refused="preferred-batch-size"),
    one("preferred-too-large", "dynamic_batching { preferred_batch_size: [ 5 ] }", refused="preferred-batch-size"),
    one(
        "preferred-unbatched",
        "dynamic_batching { preferred_batch_size: [ 1 ] }",
        batch=0,
        refused="preferred-batch-size",
    ),
    one("priorities", "dynamic_batching { priority_levels: 2 default_priority_level: 1 }"),
    one("priorities-no-default", "dynamic_batching { priority_levels: 2 }", refused="priority-default"),
    one(
        "priorities-default-high",
        "dynamic_batching { priority_levels: 2 default_priority_level: 3 }",
        refused="priority-default",
    ),
    one(
        "priority-policy-level",
        "dynamic_batching { priority_levels: 2 default_priority_level: 1 priority_queue_policy { key: 3 value { } } }",
        refused="priority-policy",
    ),
    one(
        "priority-policy",
        "dynamic_batching { priority_levels: 2 default_priority_level: 1 priority_queue_policy { key: 2 value { } } }",
    ),
    one("ordering", "dynamic_batching { preserve_ordering: true }"),
    one(
        "ordering-priorities",
        "dynamic_batching { preserve_ordering: true priority_levels: 2 default_priority_level: 1 }",
        refused="preserve-ordering",
    ),
    one(
        "ordering-delay",
        "dynamic_batching { preserve_ordering: true default_queue_policy { timeout_action: DELAY default_timeout_microseconds: 5 } }",
        refused="preserve-ordering",
    ),
    one(
        "ordering-delay-without-timeout",
        "dynamic_batching { preserve_ordering: true default_queue_policy { timeout_action: DELAY } }",
    ),
    one("metric-tag", 'metric_tags { key: "1_a" value: "" } metric_tags { key: "" value: "a" }'),
    Case("metric-tag-with-a-dot", model(config('metric_tags { key: "1.a" value: "" }')), "metric-tag", alone=True),
    Case("metric-tag-with-a-line", model(config('metric_tags { key: "_a" value: "" }')), "metric-tag", alone=True),
    one("cache", "response_cache { enable: true }"),
    one(
        "cache-decoupled",
        "response_cache { enable: true } model_transaction_policy { decoupled: true }",
        refused="cache-decoupled",
    ),
    one("decoupled", "model_transaction_policy { decoupled: true }"),
    one("cache-sequence", "response_cache { enable: true } sequence_batching { }", refused="cache-sequence"),
    # instances
    one("instances", "instance_group { count: 2 kind: KIND_CPU }"),
    one("count-negative", "instance_group { count: -1 kind: KIND_CPU }", also=("instance-count",)),
    one("cpu-with-gpus", "instance_group { kind: KIND_CPU gpus: [ 0 ] }", refused="instance-gpus"),
    one("model-with-gpus", "instance_group { kind: KIND_MODEL gpus: [ 0 ] }", refused="instance-gpus"),
    one("kind-model", "instance_group { kind: KIND_MODEL }"),
    one("rate-limiter", 'instance_group { kind: KIND_CPU rate_limiter { resources { name: "r" count: 1 } } }'),
    # batch inputs and outputs
    *(
        one(f"batch-input-{name}", f"batch_input {{ {text} }}", refused=rule)
        for name, text, rule in (
            ("good", 'kind: BATCH_ELEMENT_COUNT target_name: "n" data_type: TYPE_FP32 source_input: "x"', ""),
            (
                "int64",
                'kind: BATCH_ELEMENT_COUNT target_name: "n" data_type: TYPE_INT64 source_input: "x"',
                "batch-input-type",
            ),
            ("no-type", 'kind: BATCH_ELEMENT_COUNT target_name: "n" source_input: "x"', "batch-input-type"),
            ("no-source", 'kind: BATCH_ITEM_SHAPE target_name: "n" data_type: TYPE_FP32', "batch-source"),
            (
                "two-sources",
                'kind: BATCH_ITEM_SHAPE target_name: "n" data_type: TYPE_FP32 source_input: ["x", "x"]',
                "batch-source",
            ),
            (
                "stranger",
                'kind: BATCH_ITEM_SHAPE target_name: "n" data_type: TYPE_FP32 source_input: "z"',
                "batch-source-unknown",
            ),
            ("kind", 'kind: 9 target_name: "n" data_type: TYPE_FP32 source_input: "x"', "enum-unknown"),
        )
    ),
    *(
        one(f"batch-output-{name}", text, refused=rule, outputs=Y + tensor("output", "o"))
        for name, text, rule in (
            ("good", 'batch_output { target_name: "y" kind: BATCH_SCATTER_WITH_INPUT_SHAPE source_input: "x" }', ""),
            (
                "stranger",
                'batch_output { target_name: "p" kind: BATCH_SCATTER_WITH_INPUT_SHAPE source_input: "x" }',
                "batch-target-unknown",
            ),
            (
                "twice",
                'batch_output { target_name: ["y", "y"] kind: BATCH_SCATTER_WITH_INPUT_SHAPE source_input: "x" }',
                "batch-target-twice",
            ),
            (
                "in-two-entries",
                'batch_output { target_name: "y" kind: BATCH_SCATTER_WITH_INPUT_SHAPE source_input: "x" }\n' * 2,
                "",
            ),
        )
    ),
)

#: Queues of sequences.
_START: Final = 'control_input { name: "START" control { kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] } }'
#: Of the same name, and of the same kind.
_END: Final = _START.replace("_SEQUENCE_START", "_SEQUENCE_END")
_LAST: Final = _END.replace('"START"', '"END"')
_AGAIN: Final = _START.replace('"START"', '"AGAIN"')
_STATE: Final = 'state { input_name: "si" output_name: "so" data_type: TYPE_FP32 dims: [ 2 ] %s }'

_ZEROS: Final = 'name: "i" data_type: TYPE_FP32 dims: [ 2 ] zero_data: true'


def _corrid(text: str) -> str:
    return f'sequence_batching {{ control_input {{ name: "ID" control {{ kind: CONTROL_SEQUENCE_CORRID {text} }} }} }}'


def _initial(text: str) -> str:
    return f"sequence_batching {{ {_STATE % f'initial_state {{ {text} }}'} }}"


SEQUENCES: Final = (
    one("sequence", f"sequence_batching {{ {_START} }}"),
    one("sequence-unnamed", 'sequence_batching { control_input { control { kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] } } }', "sequence-control-name"),
    one("sequence-two-names", f"sequence_batching {{ {_START} {_LAST} }}"),
    one("sequence-same-name", f"sequence_batching {{ {_START} {_END} }}", "sequence-control-name"),
    one("sequence-kind-twice", f"sequence_batching {{ {_START} {_AGAIN} }}", "sequence-control-twice"),
    one("sequence-no-values", 'sequence_batching { control_input { name: "S" control { kind: CONTROL_SEQUENCE_START } } }', "sequence-control-values"),
    one("sequence-three-values", 'sequence_batching { control_input { name: "S" control { kind: CONTROL_SEQUENCE_END int32_false_true: [ 0, 1, 2 ] } } }', "sequence-control-values"),
    one("sequence-two-types", 'sequence_batching { control_input { name: "S" control { kind: CONTROL_SEQUENCE_READY int32_false_true: [ 0, 1 ] fp32_false_true: [ 0, 1 ] } } }', "sequence-control-values"),
    one("sequence-kind-unknown", 'sequence_batching { control_input { name: "S" control { kind: 8 fp32_false_true: [ 0, 1 ] } } }', also=("enum-ignored",)),
    one("sequence-two-values", 'sequence_batching { control_input { name: "S" control { kind: CONTROL_SEQUENCE_END int32_false_true: [ 0, 1 ] } } }'),
    one("corrid", _corrid("data_type: TYPE_UINT64")),
    one("corrid-string", _corrid("data_type: TYPE_STRING")),
    one("corrid-no-type", _corrid(""), "sequence-corrid-type"),
    one("corrid-fp32", _corrid("data_type: TYPE_FP32"), "sequence-corrid-type"),
    one("corrid-values", _corrid("data_type: TYPE_UINT64 int32_false_true: [ 0, 1 ]"), "sequence-corrid-values"),
    one("oldest", "sequence_batching { oldest { preferred_batch_size: [ 2 ] } }"),
    one("oldest-zero", "sequence_batching { oldest { preferred_batch_size: [ 0 ] } }", "preferred-batch-size"),
    one("oldest-too-large", "sequence_batching { oldest { preferred_batch_size: [ 8 ] } }", "preferred-batch-size"),
    one("direct", "sequence_batching { direct { minimum_slot_utilization: 0.5 } }"),
    one("direct-more-than-all", "sequence_batching { direct { minimum_slot_utilization: 1.5 } }", "slot-utilization"),
    one("direct-negative", "sequence_batching { direct { minimum_slot_utilization: -0.5 } }", "slot-utilization"),
    one("state", f"sequence_batching {{ {_STATE % ''} }}"),
    one("initial-zero", _initial(_ZEROS)),
    one("initial-no-name", _initial("data_type: TYPE_FP32 dims: [ 2 ] zero_data: true"), "initial-state"),
    one("initial-no-data", _initial('name: "i" data_type: TYPE_FP32 dims: [ 2 ]'), "initial-state"),
    one("initial-type", _initial('name: "i" data_type: TYPE_INT32 dims: [ 2 ] zero_data: true'), "initial-state"),
    one("initial-free", _initial('name: "i" data_type: TYPE_FP32 dims: [ -1 ] zero_data: true'), "initial-state"),
    one("initial-rank", _initial('name: "i" data_type: TYPE_FP32 dims: [ 2, 1 ] zero_data: true'), "initial-state"),
    one("initial-dims", _initial('name: "i" data_type: TYPE_FP32 dims: [ 3 ] zero_data: true'), "initial-state"),
    one("initial-no-file", _initial('name: "i" data_type: TYPE_FP32 dims: [ 2 ] data_file: "i.bin"'), "data-file-missing"),
    one("initial-twice", _initial(f"{_ZEROS} }} initial_state {{ {_ZEROS}"), "initial-state"),
    Case("initial-file", model(config(_initial('name: "i" data_type: TYPE_FP32 dims: [ 2 ] data_file: "i.bin"'))) | {"@/initial_state/i.bin": bytes(8)}),
    Case("initial-short", model(config(_initial('name: "i" data_type: TYPE_FP32 dims: [ 2 ] data_file: "i.bin"'))) | {"@/initial_state/i.bin": bytes(7)}, "data-file-short"),
)  # fmt: skip
