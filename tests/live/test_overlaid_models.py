"""What deploy/ rests on, tried with a real server: a repository with an overlay in it, and the metrics for scaling."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Callable, Iterator

import pytest
import tritonclient.grpc as grpcclient

from tests.asking import Ask, analyze
from tests.contract.manifests import DEPLOY, scaling_queries
from tests.serving import server_ended_at_once
from trident.contract import ENSEMBLE, NETWORKS
from trident.launcher import TritonServer
from trident.layout import DEFAULT_REPOSITORY
from trident.overlay import write_copy
from trident_client import probe


@pytest.fixture(scope="module")
def overlaid_server(tmp_path_factory: pytest.TempPathFactory, gallery_url: str) -> Iterator[TritonServer]:
    """The models with the GPU's overlay, but for the GPU: batching, warm-ups and all, on the processor."""
    folder = tmp_path_factory.mktemp("overlaid")
    overlay = folder / "cpu"
    overlay.mkdir()
    for file in (DEPLOY / "overlays" / "gpu").glob("*.pbtxt"):
        text = file.read_text()
        assert "KIND_GPU" in text or file.stem not in NETWORKS
        # A first run with 64 faces takes a processor seconds.
        text = text.replace("KIND_GPU", "KIND_CPU").replace("batch_size: 64", "batch_size: 8")
        (overlay / file.name).write_text(text)
    write_copy(DEFAULT_REPOSITORY, folder / "repository", [overlay])
    with server_ended_at_once(folder / "repository", env={"TRIDENT_GALLERY_URL": gallery_url}) as server:
        yield server


def test_an_overlaid_repository_is_served_and_answers_the_same(
    overlaid_server: TritonServer, ask: Ask, photo: Callable[[str], bytes]
) -> None:
    picture = photo("astronaut.png")
    with grpcclient.InferenceServerClient(overlaid_server.grpc_url) as client:
        assert analyze(client, picture) == ask(picture)
        for name in NETWORKS:
            config = client.get_model_config(name).config
            assert config.HasField("dynamic_batching"), name
            assert [group.kind for group in config.instance_group] == [2], f"{name}: KIND_CPU"


def test_the_metrics_that_scaling_asks_for_are_there(overlaid_server: TritonServer) -> None:
    with grpcclient.InferenceServerClient(overlaid_server.grpc_url) as client:
        analyze(client, probe.picture())
    directly = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever proxy the environment names
    with directly.open(overlaid_server.metrics_url, timeout=10) as answer:
        given = answer.read().decode()
    for query in scaling_queries():
        for name in re.findall(r"\bnv_\w+", query):
            assert re.search(rf"^{name}\{{", given, re.MULTILINE), f"{name} is not among the server's metrics"
    assert re.search(rf'^nv_inference_request_success\{{model="{ENSEMBLE}",version="1"\}} [1-9]', given, re.MULTILINE)
