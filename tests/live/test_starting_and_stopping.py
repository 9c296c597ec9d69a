"""Whatever ends a server, no process and no shared-memory file of it is left."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import tritonclient.grpc as grpcclient

from tests.asking import analyze, eventually
from tests.serving import guard_of, shm_name_of, triton_of
from tests.tiny_models import CONFIG, write_repository
from trident.errors import SetupError
from trident.launcher import TritonServer
from trident.launcher.installation import compile_models
from trident.supervisor import leftovers

TRIDENT = Path(sys.executable).parent / "trident"
FREE = {"grpc_port": 0, "http_port": 0, "metrics_port": 0}


def nothing_left(name: str, processes: list[psutil.Process]) -> bool:
    return (
        not leftovers.stub_processes(name)
        and not leftovers.shared_memory_files(name)
        and not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)
        and not list(Path(leftovers.run_folders()).glob(name))
    )


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_repository(tmp_path_factory.mktemp("repository"))


@pytest.fixture
def serving(repository: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """``trident serve``, which is not to bring back what is killed here, and the line that it says."""
    command = [TRIDENT, "serve", "--model", "linear", f"--model-repository={repository}", "--no-supervise"]
    process = subprocess.Popen(
        [*command, "--grpc-port=0", "--http-port=0", "--metrics-port=0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    try:
        yield process, process.stdout.readline()
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=60)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_serve_says_where_it_listens_and_stops_cleanly(
    serving: tuple[subprocess.Popen[str], str], number: signal.Signals
) -> None:
    process, line = serving
    assert re.match(r"linear listens on gRPC 127\.0\.0\.1:\d+, HTTP http://127\.0\.0\.1:\d+, metrics http://", line)
    name, family = shm_name_of(process.pid), psutil.Process(process.pid).children(recursive=True)
    assert leftovers.stub_processes(name)
    assert leftovers.shared_memory_files(name)

    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)

    assert process.returncode == 0, stderr
    assert "Traceback" not in stderr
    assert nothing_left(name, family)


def test_requests_in_flight_are_answered_when_it_stops(tmp_path: Path, photo: Callable[[str], bytes]) -> None:
    """Through all branches: one of the models calls others, which Triton refuses once it has been told to end."""
    process = subprocess.Popen(
        [TRIDENT, "serve", "--grpc-port=0", "--http-port=0", "--metrics-port=0", "--health-port=0", "--grace=60"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TRIDENT_GALLERY_URL": f"sqlite:///{tmp_path / 'gallery.db'}"},
    )
    assert process.stdout
    try:
        match = re.search(r"gRPC (\S+),", process.stdout.readline())
        assert match
        connected, answered = threading.Barrier(16), threading.Event()
        ended = []

        def request(_: int) -> str:
            with grpcclient.InferenceServerClient(match[1]) as client:
                assert client.is_server_live()
                connected.wait(timeout=30)
                (answer,) = analyze(client, photo("chelsea.png"))
            ended.append(time.monotonic())
            answered.set()
            return str(answer["categories"][0]["name"])

        with ThreadPoolExecutor(16) as pool:
            answers = [pool.submit(request, index) for index in range(16)]
            assert answered.wait(timeout=60)  # they were sent together: the others are under way
            begin = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert [answer.result() for answer in answers] == ["cat"] * 16
        _, stderr = process.communicate(timeout=90)
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=90)

    assert max(ended) > begin, "nothing was in flight"
    assert process.returncode == 0, stderr
    assert "Exit timeout expired" not in stderr


def test_nothing_is_left_when_the_launcher_is_killed(serving: tuple[subprocess.Popen[str], str]) -> None:
    process, _ = serving
    name, family = shm_name_of(process.pid), psutil.Process(process.pid).children(recursive=True)

    process.kill()

    assert eventually(lambda: nothing_left(name, family))


def test_nothing_is_left_when_triton_is_killed(serving: tuple[subprocess.Popen[str], str]) -> None:
    process, _ = serving
    name, family = shm_name_of(process.pid), psutil.Process(process.pid).children(recursive=True)

    triton_of(process.pid).kill()
    _, stderr = process.communicate(timeout=60)

    assert process.returncode == 1
    assert "Error: Triton ended by itself with exit code 137" in stderr
    assert eventually(lambda: nothing_left(name, family))


def test_nothing_is_left_when_the_guard_is_killed(serving: tuple[subprocess.Popen[str], str]) -> None:
    process, _ = serving
    name, family = shm_name_of(process.pid), psutil.Process(process.pid).children(recursive=True)

    guard_of(process.pid).kill()
    process.communicate(timeout=60)

    assert process.returncode == 1
    assert eventually(lambda: nothing_left(name, family))


def test_the_next_start_clears_what_was_left_when_all_were_killed(
    serving: tuple[subprocess.Popen[str], str], repository: Path
) -> None:
    process, _ = serving
    name, family = shm_name_of(process.pid), psutil.Process(process.pid).children(recursive=True)
    guard = guard_of(process.pid)
    guard.suspend()  # or it would clear up
    process.kill()
    guard.kill()
    psutil.wait_procs([guard], timeout=10)

    with TritonServer(repository, model="linear", **FREE):
        assert eventually(lambda: nothing_left(name, family))


def test_a_server_that_ignores_the_request_to_stop_is_killed(repository: Path) -> None:
    server = TritonServer(repository, model="linear", grace_s=1.0, **FREE)
    server.start()
    name = server.name
    assert name
    family = psutil.Process().children(recursive=True)
    (triton,) = (p for p in family if p.name() == "tritonserver" and name in " ".join(p.cmdline()))
    triton.suspend()

    begin = time.monotonic()
    server.stop()

    assert time.monotonic() - begin < 12
    assert nothing_left(name, [triton])


def test_two_servers_run_side_by_side(repository: Path) -> None:
    with (
        TritonServer(repository, model="linear", **FREE) as one,
        TritonServer(repository, model="linear", **FREE) as other,
    ):
        assert one.name != other.name
        assert not {one.grpc_url, one.http_url, one.metrics_url} & {other.grpc_url, other.http_url, other.metrics_url}


def test_a_taken_port_is_named(repository: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SetupError, match=rf"^gRPC port {port} of 127.0.0.1 is taken: .* --grpc-port$"):
            TritonServer(repository, model="linear", **{**FREE, "grpc_port": port}).start()


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        pytest.param(
            CONFIG.replace("dims: [ 4 ]", "dims: [ 5 ]"),
            r"model linear version 1 does not load: input X: expected shape \[-1, 5\], the network has \[-1, 4\]",
            id="signature that does not fit",
        ),
        pytest.param(
            CONFIG + 'optimization { execution_accelerators { cpu_execution_accelerator [ { name: "abacus" } ] } }',
            r"model linear version 1 does not load: unknown Execution Accelerator 'abacus' is requested",
            id="unknown accelerator",
        ),
        pytest.param(
            CONFIG.replace('"onnxruntime"', '"abacus"'),
            r"model linear version 1 does not load: unable to find backend library for backend 'abacus'",
            id="no such backend",
        ),
    ],
)
def test_a_model_that_does_not_load_is_said_in_one_sentence(tmp_path: Path, config: str, sentence: str) -> None:
    server = TritonServer(write_repository(tmp_path, config), model="linear", **FREE)

    with pytest.raises(SetupError, match=sentence) as caught:
        server.start()

    assert "\n" not in str(caught.value)
    assert not server.running


def test_a_failing_start_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    result = subprocess.run(
        [TRIDENT, "serve", f"--model-repository={tmp_path / 'nowhere'}", "--health-port=0"],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "300"},
    )

    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr == f"Error: there is no model repository at {tmp_path / 'nowhere'}\n"


ECHO_CONFIG = """
name: "echo"
backend: "python"
max_batch_size: 1
input [ { name: "X" data_type: TYPE_FP32 dims: [ 1 ] } ]
output [ { name: "Y" data_type: TYPE_FP32 dims: [ 1 ] } ]
"""
ECHO_MODEL = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        inputs = [pb_utils.get_input_tensor_by_name(request, "X").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("Y", array)]) for array in inputs]
"""


def test_loading_a_python_model_changes_nothing_in_its_folder(tmp_path: Path) -> None:
    """Triton takes a file that appears there for a change of the model, and would load it again."""
    version = tmp_path / "echo" / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(ECHO_MODEL)
    (tmp_path / "echo" / "config.pbtxt").write_text(ECHO_CONFIG)
    compile_models(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in version.rglob("*")}
    with TritonServer(tmp_path, model="echo", grpc_port=0, http_port=0, metrics_port=0):
        pass
    assert {path: path.stat().st_mtime_ns for path in version.rglob("*")} == before
    assert [path.name for path in before if path.suffix == ".pyc"], "it was not compiled beforehand"
