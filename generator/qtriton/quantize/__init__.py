"""Places ACT's learnt ranges in an ONNX graph, so that the runtime really runs its layers quantized."""
