"""Triton servers: that of the wheel nvidia-pytriton with backends of ours, embedded, and docker's."""

from qtriton.triton.server.container import IMAGE, serve_in_docker
from qtriton.triton.server.options import ModelState, ServerOptions
from qtriton.triton.server.process import serve
from qtriton.triton.server.running import Server

__all__ = ["IMAGE", "ModelState", "Server", "ServerOptions", "serve", "serve_in_docker"]
