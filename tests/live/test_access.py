"""A real server lets in whom it should, and refuses the rest: by the admin key, and by certificates."""

from __future__ import annotations

import http.client
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from tests.asking import eventually
from tests.tiny_models import WEIGHTS, write_repository
from trident.access.authority import Authority
from trident.access.keys import GRPC_HEADER, KEY_FILE_VARIABLE
from trident.access.marks import HIDDEN, VISIBLE
from trident.access.restrictions import Access
from trident.access.tls import ServerTLS
from trident.launcher import TritonServer
from trident.rollout.serving import ServingError, TritonServing
from trident_client import TLS, AsyncTridentClient, Retries, ServerUnreachable, TridentClient

FREE = {"grpc_port": 0, "http_port": 0, "metrics_port": 0}
MODEL = "linear"
ROWS = np.arange(4, dtype=np.float32)[None]
TIMEOUT_S = 30.0
REFUSED_S = 5.0
"""Within which a connection is refused; gRPC goes on trying until a deadline."""

Client = grpcclient.InferenceServerClient
CONTROL: dict[str, Callable[[Client, dict[str, str] | None], Any]] = {
    "list models": lambda client, key: client.get_model_repository_index(headers=key),
    "load": lambda client, key: client.load_model(MODEL, headers=key),
    "load what the caller sends": lambda client, key: client.load_model(
        "mine", config="{}", files={"file:1/model.py": b"print('run by whoever asks')"}, headers=key
    ),
    "unload": lambda client, key: client.unload_model("another", headers=key),
    "configuration": lambda client, key: client.get_model_config(MODEL, headers=key),
    "register shared memory": lambda client, key: client.register_system_shared_memory(
        "mine", "/trident-test-none", 64, headers=key
    ),
    "list shared memory": lambda client, key: client.get_system_shared_memory_status(headers=key),
    "forget shared memory": lambda client, key: client.unregister_system_shared_memory(headers=key),
    "list memory of devices": lambda client, key: client.get_cuda_shared_memory_status(headers=key),
    "trace": lambda client, key: client.update_trace_settings(settings={"trace_rate": "7"}, headers=key),
    "trace settings": lambda client, key: client.get_trace_settings(headers=key),
    "log": lambda client, key: client.update_log_settings(settings={"log_verbose_level": 0}, headers=key),
    "log settings": lambda client, key: client.get_log_settings(headers=key),
}
"""Calls that change a server, or tell what is on its disk."""
REFUSED_TO_THE_HOLDER_TOO = {"load what the caller sends", "register shared memory"}
"""The key opens them, and what they ask for cannot be had."""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_repository(tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="module", autouse=True)
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keys of these servers lie here."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("state")
        patch.setenv("XDG_STATE_HOME", str(folder))
        patch.delenv(KEY_FILE_VARIABLE, raising=False)
        yield folder / "trident" / "admin"


@pytest.fixture(scope="module")
def closed(repository: Path, state: Path) -> Iterator[TritonServer]:
    """As `trident serve` has it, with as much in its log as there can be."""
    arguments = ["--log-verbose=2"]
    with TritonServer(repository, model=MODEL, access=Access(), arguments=arguments, **FREE) as server:
        yield server
        assert server.running, server.failure()
    assert not state.exists()


@pytest.fixture(scope="module")
def key(closed: TritonServer, state: Path) -> str:
    (file,) = state.iterdir()
    return file.read_text().strip()


@pytest.fixture
def anybody(closed: TritonServer) -> Iterator[Client]:
    with Client(closed.grpc_url) as client:
        yield client


def infer(client: Client) -> bool:
    """Whether the model computes what it should."""
    tensor = grpcclient.InferInput("X", [1, 4], "FP32")
    tensor.set_data_from_numpy(ROWS)
    result = client.infer(MODEL, [tensor], client_timeout=TIMEOUT_S)
    return bool(np.allclose(result.as_numpy("Y"), ROWS @ WEIGHTS))


def triton_of(server: TritonServer) -> psutil.Process:
    (found,) = (
        process
        for process in psutil.Process().children(recursive=True)
        if process.name() == "tritonserver" and f"={server.name}" in " ".join(process.cmdline())
    )
    return found


class TestKey:
    @pytest.mark.parametrize("call", CONTROL)
    @pytest.mark.parametrize("wrong", [None, "another-key-of-somebody", HIDDEN], ids=["none", "another", "the mark"])
    def test_without_it_control_is_refused(self, anybody: Client, call: str, wrong: str | None) -> None:
        with pytest.raises(InferenceServerException) as refused:
            CONTROL[call](anybody, None if wrong is None else {GRPC_HEADER: wrong})
        assert refused.value.status() == "StatusCode.UNAVAILABLE"
        assert refused.value.message() == f"This protocol is restricted, expecting header '{GRPC_HEADER}'"

    @pytest.mark.parametrize(
        "path",
        [
            "inference.GRPCInferenceService/repositoryindex",
            "/inference.GRPCInferenceService/RepositoryIndex",
            "inference.GRPCInferenceService/RepositoryIndex/",
            "inference.GRPCService/RepositoryIndex",
            "nvidia.inferenceserver.GRPCService/RepositoryIndex",
        ],
    )
    def test_it_has_no_other_name_under_which_it_is_open(self, closed: TritonServer, path: str) -> None:
        with grpc.insecure_channel(closed.grpc_url) as channel, pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary(f"/{path}")(b"", timeout=TIMEOUT_S)
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED

    @pytest.mark.parametrize("call", CONTROL)
    def test_with_it_control_is_had(self, anybody: Client, key: str, call: str) -> None:
        try:
            CONTROL[call](anybody, {GRPC_HEADER: key})
        except InferenceServerException as exc:
            assert call in REFUSED_TO_THE_HOLDER_TOO, exc
            assert "restricted" not in str(exc)

    def test_everybody_may_ask_for_answers_health_and_figures(self, anybody: Client) -> None:
        assert infer(anybody)
        assert anybody.is_server_live()
        anybody.is_server_ready()  # false where a model that was asked for could not be loaded
        assert anybody.is_model_ready(MODEL)
        assert anybody.get_server_metadata().name == "triton"
        assert anybody.get_model_metadata(MODEL).name == MODEL
        assert anybody.get_inference_statistics(MODEL).model_stats

    def test_it_lies_where_only_this_user_looks(self, closed: TritonServer, key: str, state: Path) -> None:
        (file,) = state.iterdir()
        assert file.name == f"{closed.grpc_url.replace(':', '-')}.key"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(state.stat().st_mode) == 0o700
        assert len(key) >= 43

    def test_it_is_in_no_command_line_and_no_log(self, closed: TritonServer, key: str, anybody: Client) -> None:
        for call in ("list models", "trace settings"):
            CONTROL[call](anybody, {GRPC_HEADER: key})
        assert infer(anybody)
        lines = [entry.text for entry in closed.log_entries]
        assert any("RepositoryIndex" in line for line in lines), "the log is not verbose"
        assert not [line for line in lines if key in line]
        if any(line.startswith(VISIBLE) for line in lines):
            pytest.skip("this machine does not allow to hide arguments")
        shown = [word for process in psutil.process_iter(["cmdline"]) for word in process.info["cmdline"] or ()]
        assert any(HIDDEN in word for word in shown)
        assert not [word for word in shown if key in word]

    def test_nothing_listens_that_was_not_asked_for(self, closed: TritonServer) -> None:
        assert closed.http_url is None
        triton = triton_of(closed)
        listening = {one.laddr for one in triton.net_connections("tcp") if one.status == psutil.CONN_LISTEN}
        assert {address.port for address in listening} == set(closed.ports.values())
        assert {address.ip.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}

    def test_the_same_users_commands_find_it(
        self, closed: TritonServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        with TritonServing(closed.grpc_url) as serving:
            assert serving.states(MODEL) == {1: "READY"}
            assert serving.config(MODEL).name == MODEL
            serving.load(MODEL)
            monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))  # as it is for another user
            with pytest.raises(ServingError, match=r"restricted.*--admin-key-file") as refused:
                serving.states(MODEL)
            assert refused.value.code == "UNAVAILABLE"
            assert serving.ready(MODEL)

    def test_so_does_the_client_that_asks_for_the_status(
        self, closed: TritonServer, key: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        with TridentClient(closed.grpc_url, model=MODEL) as client:
            assert not [note for note in client.status(probe=False).notes if "restricted" in note]
            monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
            assert [note for note in client.status(probe=False).notes if "--admin-key-file" in note]
            file = tmp_path / "key"
            file.write_text(key)
            file.chmod(0o600)
            with TridentClient(closed.grpc_url, model=MODEL, admin_key_file=file) as told:
                assert not [note for note in told.status(probe=False).notes if "restricted" in note]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``ca.pem`` with a server and a client by it, and ``other-ca.pem`` with ``other``, a client by that."""
    folder = tmp_path_factory.mktemp("certificates")
    authority, other = Authority("test", 1), Authority("another", 1)
    server, client, stranger = authority.server(("vision.test",)), authority.client("client"), other.client("other")
    for name, content in {
        "ca.pem": authority.certificate,
        "other-ca.pem": other.certificate,
        "server.pem": server.certificate,
        "server.key": server.key,
        "client.pem": client.certificate,
        "client.key": client.key,
        "other.pem": stranger.certificate,
        "other.key": stranger.key,
    }.items():
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o600)
    return folder


def tls_of(folder: Path, ca: str = "ca", client: str | None = "client", name: str = "vision.test") -> TLS:
    own = (None, None) if client is None else (folder / f"{client}.pem", folder / f"{client}.key")
    return TLS(folder / f"{ca}.pem", *own, name)


def reaches(url: str, tls: TLS | None) -> bool:
    """Whether a client gets through to the model; the launcher's key is not in play."""
    with TridentClient(url, tls=tls, model=MODEL, timeout=REFUSED_S, retries=Retries(attempts=1)) as client:
        return client.is_ready()


@pytest.fixture(scope="module")
def encrypted(repository: Path, certificates: Path) -> Iterator[TritonServer]:
    tls = ServerTLS(certificates / "server.pem", certificates / "server.key", certificates / "ca.pem")
    with TritonServer(repository, model=MODEL, access=Access(tls=tls), **FREE) as server:
        yield server
        assert server.running, server.failure()


class TestMutualTls:
    def test_who_has_a_certificate_is_answered(self, encrypted: TritonServer, certificates: Path) -> None:
        assert reaches(encrypted.grpc_url, tls_of(certificates))
        pem = {name: (certificates / name).read_bytes() for name in ("ca.pem", "client.key", "client.pem")}
        credentials = grpc.ssl_channel_credentials(*pem.values())
        named = [("grpc.ssl_target_name_override", "vision.test")]
        with Client(encrypted.grpc_url, creds=credentials, channel_args=named) as client:
            assert infer(client)

    async def test_with_asyncio_as_well(self, encrypted: TritonServer, certificates: Path) -> None:
        async with AsyncTridentClient(encrypted.grpc_url, tls=tls_of(certificates), model=MODEL) as client:
            assert await client.is_ready()

    @pytest.mark.parametrize(
        ("change", "kind"),
        [
            pytest.param({"client": None}, "no certificate", id="no certificate"),
            pytest.param({"client": "other"}, "another authority's", id="a certificate by another authority"),
            pytest.param({"ca": "other-ca"}, "does not trust", id="a server that the client does not trust"),
            pytest.param({"name": "other.test"}, "another name", id="a server of another name"),
        ],
    )
    def test_nobody_else_is(
        self, encrypted: TritonServer, certificates: Path, change: dict[str, Any], kind: str
    ) -> None:
        assert not reaches(encrypted.grpc_url, tls_of(certificates, **change)), kind

    def test_nor_is_plain_text(self, encrypted: TritonServer) -> None:
        assert not reaches(encrypted.grpc_url, None)
        with (
            TridentClient(encrypted.grpc_url, timeout=REFUSED_S, retries=Retries(attempts=1)) as client,
            pytest.raises(ServerUnreachable),
        ):
            client.analyze(b"picture")

    def test_control_wants_both_a_certificate_and_the_key(
        self, encrypted: TritonServer, certificates: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        with TritonServing(encrypted.grpc_url, tls=tls_of(certificates)) as serving:
            assert serving.states(MODEL) == {1: "READY"}
            monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
            with pytest.raises(ServingError, match="restricted"):
                serving.states(MODEL)

    def test_the_launcher_gets_in_by_itself(self, encrypted: TritonServer) -> None:
        with encrypted.connect() as serving:
            assert serving.ready(MODEL)
            assert serving.states(MODEL) == {1: "READY"}


def test_tls_alone_lets_in_every_client_that_encrypts(repository: Path, certificates: Path, tmp_path: Path) -> None:
    tls = ServerTLS(tmp_path / "server.pem", tmp_path / "server.key")
    for file in (tls.certificate, tls.key):
        shutil.copy(certificates / file.name, file)
    with TritonServer(repository, model=MODEL, access=Access(tls=tls), **FREE) as server:
        assert reaches(server.grpc_url, tls_of(certificates, client=None))
        assert not reaches(server.grpc_url, tls_of(certificates, ca="other-ca", client=None))
        assert not reaches(server.grpc_url, None)
        # Renewed on disk: the server goes on with what it has read, and the launcher knows that.
        tls.certificate.write_bytes(Authority("renewed", 1).server(("vision.test",)).certificate)
        assert reaches(server.grpc_url, tls_of(certificates, client=None))
        with server.connect() as own:
            assert own.ready(MODEL)


def odd_forms_of(path: str) -> list[str]:
    """Paths that some servers take for this one, and a list of what is forbidden may not."""
    return [
        *(f"/{path}", f"{path}/", path.upper(), path.replace("/", "//"), f"{path}?x=1", f"{path};x", f"{path}%00"),
        *(f"/v2/..{path}", f"/.{path}", f"http://x{path}", path.replace("v2", "%762"), path.replace("o", "%6F")),
    ]


def test_an_open_http_side_is_restricted_alike(repository: Path) -> None:
    with TritonServer(repository, model=MODEL, access=Access(http=True), **FREE) as server:

        def status(method: str, path: str, headers: dict[str, str] | None = None) -> int:
            connection = http.client.HTTPConnection("127.0.0.1", server.ports["HTTP"], timeout=TIMEOUT_S)
            try:
                connection.request(method, path, headers=headers or {})
                return connection.getresponse().status
            finally:
                connection.close()

        assert status("GET", f"/v2/models/{MODEL}/ready") == 200
        assert status("GET", f"/v2/models/{MODEL}/stats") == 200
        for method, path in (
            ("POST", "/v2/repository/index"),
            ("POST", f"/v2/repository/models/{MODEL}/unload"),
            ("GET", f"/v2/models/{MODEL}/config"),
            ("GET", "/v2/systemsharedmemory/status"),
            ("GET", "/v2/trace/setting"),
            ("GET", "/v2/logging"),
        ):
            assert status(method, path) == 403, path
            for odd in odd_forms_of(path):
                assert status(method, odd) in (400, 403, 404, 405), odd
        key = server._key_file
        assert key is not None
        assert status("POST", "/v2/repository/index", {"trident-admin": key.key}) == 200


def test_the_key_of_a_launcher_that_is_killed_is_gone(repository: Path, state: Path) -> None:
    before = {path.name for path in state.glob("*")}
    command = [Path(sys.executable).parent / "trident", "serve", "--model", MODEL, f"--model-repository={repository}"]
    process = subprocess.Popen(
        [*command, "--grpc-port=0", "--metrics-port=0", "--no-health"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    try:
        assert "listens on gRPC" in process.stdout.readline()
        assert len({path.name for path in state.iterdir()} - before) == 1
    finally:
        process.kill()
        process.communicate(timeout=TIMEOUT_S)
    assert eventually(lambda: {path.name for path in state.glob("*")} == before)
