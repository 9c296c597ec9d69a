"""For all unit tests: servers that are asked over TLS."""

from __future__ import annotations

import shutil
import subprocess

import grpc
import pytest
from fake_server import FakeServer, running


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """A folder with ``ca.pem``, and with key and certificate of a ``server`` and a ``client``, by it."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=test")
    for name in ("server", "client"):
        openssl("req", *new_key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (folder / "names").write_text("subjectAltName=DNS:vision.example")
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
        openssl("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *signed)
    return folder


@pytest.fixture
def guarded(certificates):
    """A server that only talks to holders of a certificate."""
    key, chain, ca = ((certificates / name).read_bytes() for name in ("server.key", "server.pem", "ca.pem"))
    with running(FakeServer(), grpc.ssl_server_credentials([(key, chain)], ca, require_client_auth=True)) as fake:
        yield fake
