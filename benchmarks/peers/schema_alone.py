"""Import this before ``benchmarks.pipeline`` where another package brings KServe's gRPC messages with it.

``tritonclient.grpc`` defines the messages of KServe's service as soon as it is imported, and protobuf takes each of
them only once in a process. The pipeline wants nothing of it but the schema of ``config.pbtxt``, a module beside them.
So the package is put in place here without what its ``__init__`` would import.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

_NAME = "tritonclient.grpc"

if _NAME not in sys.modules:
    _found = find_spec("tritonclient")
    if _found is None or _found.origin is None:
        raise ImportError("tritonclient is not installed")
    _package = ModuleType(_NAME)
    _package.__path__ = [str(Path(_found.origin).parent / "grpc")]
    sys.modules[_NAME] = _package
