"""Triton servers: the embedded one of the wheel nvidia-pytriton, with qtriton's backends, and the one in docker."""

from qtriton.server.docker import IMAGE, serve_in_docker
from qtriton.server.embedded import serve
from qtriton.server.options import ModelState, ServerOptions
from qtriton.server.process import Server

__all__ = ["IMAGE", "ModelState", "Server", "ServerOptions", "serve", "serve_in_docker"]
