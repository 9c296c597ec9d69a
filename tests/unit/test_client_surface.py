"""What the library shows of itself, and what it needs."""

from __future__ import annotations

import subprocess
import sys

import trident_client
from trident.errors import TridentError
from trident_client import errors

SURFACE = {
    "clients": {"TridentClient", "AsyncTridentClient"},
    "settings": {"TLS", "Retries", "Transport", "AsyncTransport"},
    "results": {
        "Analysis", "Box", "CategoryScore", "DetectedObject", "Entity", "FaceEntity", "Identity", "ModelVersion",
        "Outcome", "Picture", "PlateEntity", "Point", "SceneLabel", "Tensors", "parse",
    },
    "status": {"LoadedVersion", "ModelStatus", "ServerStatus"},
    "statistics": {"ServerStatistics", "VersionCounts"},
    "drawing": {"draw"},
    "errors": {
        "AccessDenied", "AnswerError", "ClientClosed", "ClientError", "DeadlineExceeded", "NotServed", "PictureError",
        "PictureRefused", "PictureUnreadable", "ServerError", "ServerFailed", "ServerUnavailable",
        "ServerUnreachable", "SettingsError", "UnknownSchema",
    },
}  # fmt: skip


def test_the_public_surface():
    assert set(trident_client.__all__) == set().union(*SURFACE.values())
    assert all(hasattr(trident_client, name) for name in trident_client.__all__)


def test_every_error_is_public_documented_and_of_one_tree():
    own = {
        name: value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, TridentError) and value is not TridentError
    }
    assert set(own) == SURFACE["errors"]
    for name, value in own.items():
        assert issubclass(value, errors.ClientError)
        assert f"── {name} " in errors.__doc__


def test_importing_it_needs_neither_networks_nor_server_packages():
    program = (
        "import sys, trident_client, trident_client.commands\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'cv2', 'scipy', 'skimage', 'sqlalchemy', 'psutil', 'platformdirs'}\n"
        "print(*sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""
