"""From ACT's learnt ranges to the INT8 ONNX that a runtime really executes in integers."""
