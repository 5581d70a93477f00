"""The embedded Triton server: the tritonserver of the wheel nvidia-pytriton with backends of ours."""

from qtriton.triton.server.options import ModelState, ServerOptions
from qtriton.triton.server.process import Server, serve

__all__ = ["ModelState", "Server", "ServerOptions", "serve"]
