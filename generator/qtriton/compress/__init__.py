"""Compression with PaddleSlim ACT, in a worker process of its own."""
