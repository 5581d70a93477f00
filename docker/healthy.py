"""Ends well when the server and all of its models are ready; the image may have no curl."""

from urllib.request import urlopen

urlopen("http://127.0.0.1:8000/v2/health/ready", timeout=3).close()
