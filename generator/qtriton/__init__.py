"""qtriton: from an FP32 vision model to a measured INT8 deployment on Triton Inference Server."""

import os

# As in backends/onnxruntime/engine.py, which runs without us, for all else here that loads ONNX Runtime; the processes
# that we start inherit it. Whoever wants it sets the variable to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
