"""Starts, watches and stops a Triton server, in NVIDIA's container and on a machine that has none.

>>> from trident.launcher import TritonServer
>>> with TritonServer(repository, grpc_port=0, http_port=0, metrics_port=0) as server:  # doctest: +SKIP
...     print(server.grpc_url)
127.0.0.1:40123
"""

from trident.launcher.server import TritonServer

__all__ = ["TritonServer"]
