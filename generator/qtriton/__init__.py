"""qtriton: from an FP32 vision model to a measured INT8 deployment on Triton Inference Server."""

import os

# ONNX Runtime's wheel 1.32 reports to its maker's server unless told not to before it is loaded; the processes that
# we start inherit it. Whoever wants it sets the variable to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
