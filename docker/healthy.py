"""Ends well when the server and all of its models are ready; the image may have no curl."""

import sys
from http.client import HTTPConnection

connection = HTTPConnection("127.0.0.1", 8000, timeout=3)  # not urllib, which would ask a proxy of the environment
connection.request("GET", "/v2/health/ready")
sys.exit(connection.getresponse().status != 200)
