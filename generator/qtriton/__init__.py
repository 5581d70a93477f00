"""qtriton: from an FP32 vision model to a measured INT8 deployment on Triton Inference Server."""
