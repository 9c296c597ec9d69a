"""What a report says of the server that was measured."""

from __future__ import annotations

import json

from benchmarks import report
from trident.access.keys import find_key
from trident.launcher import TritonServer
from trident.layout import DEFAULT_REPOSITORY
from trident.rollout.disk import Repository


def test_flags_version_and_release(server: TritonServer) -> None:
    found = report.served_by(server.grpc_url)
    assert found["notes"] == []
    assert {"--model-control-mode=explicit", f"--model-repository={server.repository}"} <= set(found["flags"])
    key = find_key(server.grpc_url)
    assert key is not None
    assert key.key not in json.dumps(found)
    assert any(flag.endswith(":trident-admin=…") for flag in found["flags"])
    assert found["triton"].startswith("triton 2.")
    assert {name: model["version"] for name, model in found["release"].items()} == (
        Repository(DEFAULT_REPOSITORY).release()
    )
    assert all(model["digest"].startswith("sha256:") for model in found["release"].values())
