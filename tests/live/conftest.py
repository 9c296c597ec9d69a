"""One real server for the session, on free ports, with a gallery of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tritonclient.grpc as grpcclient

from tests.asking import PHOTOS, Ask, analyze
from trident.access.restrictions import Access
from trident.launcher import TritonServer


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.live)


@pytest.fixture(scope="session")
def gallery_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A gallery that nobody is enrolled in."""
    return f"sqlite:///{tmp_path_factory.mktemp('gallery') / 'gallery.db'}"


@pytest.fixture(scope="session")
def server(gallery_url: str) -> Iterator[TritonServer]:
    """The whole of Trident, as ``trident serve --http`` runs it: control wants the admin key."""
    free = {"grpc_port": 0, "http_port": 0, "metrics_port": 0}
    with TritonServer(**free, env={"TRIDENT_GALLERY_URL": gallery_url}, access=Access(http=True)) as running:
        yield running
        assert running.running, running.failure()


@pytest.fixture
def client(server: TritonServer) -> Iterator[grpcclient.InferenceServerClient]:
    """A plain KServe v2 client."""
    with grpcclient.InferenceServerClient(server.grpc_url) as connected:
        yield connected


@pytest.fixture
def ask(client: grpcclient.InferenceServerClient) -> Ask:
    """``ask(picture, …)``: the answers to encoded pictures that go in one request."""
    return lambda *pictures: analyze(client, *pictures)


@pytest.fixture(scope="session")
def photo() -> Callable[[str], bytes]:
    """``photo(name)``: the encoded picture of that name that scikit-image ships."""
    return lambda name: (PHOTOS / name).read_bytes()
