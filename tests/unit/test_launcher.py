"""The launcher, without a server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Self

import pytest
from click.testing import CliRunner
from tritonclient.grpc.model_config_pb2 import ModelConfig

from tests.tiny_models import write_repository
from trident.commands.serve import serve
from trident.errors import SetupError
from trident.launcher import TritonServer, installation, log, ports
from trident.launcher.installation import Installation, assemble_backends, find_installation, find_libpython
from trident.launcher.log import Entry, Level, parse_line, reason
from trident.launcher.server import check_repository
from trident.rollout.serving import ServerLost
from trident.supervisor import leftovers
from trident.supervisor.leftovers import RunFolder

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


class TestInstallation:
    def test_a_tritonserver_on_path_comes_first(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        executable = tmp_path / "tritonserver"
        executable.touch(mode=0o755)
        monkeypatch.setenv("PATH", str(tmp_path))

        assert find_installation(tmp_path) == Installation(executable, None, ())

    def test_without_any_triton_the_sentence_says_what_to_install(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

        with pytest.raises(SetupError, match=r"^there is no tritonserver on PATH, .* pip install nvidia-pytriton$"):
            find_installation(tmp_path)

    @pytest.mark.parametrize("version", ["2.0.0", "2.4.1"])
    def test_numpy_2_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr("importlib.metadata.version", lambda name: version)

        with pytest.raises(SetupError, match=f"^numpy {version} does not work with the bundled Triton server"):
            find_installation(tmp_path)

    def test_the_backend_directory_holds_the_stub_that_fits_and_the_stand_in(self, tmp_path: Path) -> None:
        wheel, stand_in = fake_wheel(tmp_path, PYTHON, "3.8"), tmp_path / "stand-in"
        stand_in.mkdir()
        (stand_in / "model.py").write_text("the stand-in")

        backends = assemble_backends(tmp_path / "backends", wheel, stand_in)

        stub = backends / "python" / "triton_python_backend_stub"
        assert stub.read_text() == f"stub {PYTHON}"
        assert os.access(stub, os.X_OK)
        assert (backends / "python" / "libtriton_python.so").is_file()
        assert (backends / "onnxruntime" / "model.py").read_text() == "the stand-in"
        assert not [path for path in backends.rglob("*") if path.is_symlink()], "Triton refuses what leads outside"

    def test_a_wheel_without_the_fitting_stub_is_refused(self, tmp_path: Path) -> None:
        wheel = fake_wheel(tmp_path, "3.8", "3.9", "3.10")
        with pytest.raises(SetupError, match=rf"has no stub for Python {PYTHON}, only for 3\.8 to 3\.10$"):
            assemble_backends(tmp_path / "backends", wheel, tmp_path)

    @pytest.mark.parametrize(
        "place",
        [
            pytest.param("lib", id="pyenv"),
            pytest.param("lib/x86_64-linux-gnu", id="Debian"),
            pytest.param("lib/python3.11/config", id="beside its static library"),
        ],
    )
    def test_libpython_is_found_where_builds_put_it(self, tmp_path: Path, place: str) -> None:
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "libpython3.11.so.1.0").touch()

        assert find_libpython(debian(tmp_path), tmp_path / "elsewhere") == (tmp_path / place,)

    def test_a_python_without_a_shared_library_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(SetupError, match=r"no shared library libpython3\.11\.so\.1\.0, .* package libpython3\.11 "):
            find_libpython(debian(tmp_path), tmp_path)

    def test_environment_lets_the_stub_find_its_packages_and_libraries(self) -> None:
        found = Installation(Path("/triton"), None, (Path("/one"), Path("/two")))

        env = found.environment({"PATH": "/usr/bin", "LD_LIBRARY_PATH": "/old", "PYTHONHOME": "/wrong", "KEPT": "yes"})

        assert env["PATH"].split(os.pathsep) == [str(Path(sys.executable).parent), "/usr/bin"]
        assert env["LD_LIBRARY_PATH"].split(os.pathsep) == ["/one", "/two", "/old"]
        assert env["PYTHONDONTWRITEBYTECODE"] == "1"
        assert env["OMP_NUM_THREADS"] == "1"
        assert env["MALLOC_ARENA_MAX"] == "2"
        assert env["KEPT"] == "yes"
        assert "PYTHONHOME" not in env
        assert str(installation.PACKAGE_ROOT) in env["PYTHONPATH"]

    @pytest.mark.parametrize("variable", ["OMP_NUM_THREADS", "MALLOC_ARENA_MAX"])
    def test_what_the_operator_has_chosen_stays(self, variable: str) -> None:
        assert Installation(Path("/t"), None, ()).environment({variable: "4"})[variable] == "4"


def fake_wheel(folder: Path, *versions: str) -> Path:
    server = folder / "tritonserver"
    (server / "backends" / "python").mkdir(parents=True)
    (server / "backends" / "python" / "libtriton_python.so").touch()
    for version in versions:
        (server / "python_backend_stubs" / version).mkdir(parents=True)
        (server / "python_backend_stubs" / version / "triton_python_backend_stub").write_text(f"stub {version}")
    return server


def debian(root: Path) -> dict[str, str]:
    return {
        "LIBDIR": str(root / "lib"),
        "LIBPL": str(root / "lib/python3.11/config"),
        "MULTIARCH": "x86_64-linux-gnu",
        "py_version_short": "3.11",
    }


class TestPorts:
    def test_zero_gives_free_ports_that_differ(self) -> None:
        found = ports.resolve("127.0.0.1", {"gRPC": 0, "HTTP": 0, "metrics": 0})
        assert len(set(found.values())) == 3
        assert min(found.values()) > 0

    def test_a_taken_port_is_named_with_the_option_that_changes_it(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(SetupError, match=rf"^HTTP port {port} of 127.0.0.1 is taken: .* with --http-port$"):
                ports.resolve("127.0.0.1", {"gRPC": 0, "HTTP": port})

    def test_the_same_port_twice_is_said_with_the_options_that_gave_it(self) -> None:
        free = ports.resolve("127.0.0.1", {"gRPC": 0})["gRPC"]
        sentence = f"^port {free} is given twice, for HTTP and for metrics: .* --http-port or --metrics-port$"
        with pytest.raises(SetupError, match=sentence):
            ports.resolve("127.0.0.1", {"gRPC": 0, "HTTP": free, "metrics": free})

    def test_an_address_of_another_machine_is_refused(self) -> None:
        with pytest.raises(SetupError, match=r"^cannot listen on 203\.0\.113\.1, port 8001: "):
            ports.resolve("203.0.113.1", {"gRPC": 8001})

    def test_a_number_that_is_no_port_is_refused(self) -> None:
        with pytest.raises(SetupError, match=r"^gRPC port: expected 0 to 65535, got 70000$"):
            ports.resolve("127.0.0.1", {"gRPC": 70000})


def error(text: str) -> Entry:
    return Entry(Level.ERROR, text)


def bare(*lines: str) -> list[Entry]:
    return [parse_line(line) for line in lines]


class TestLog:
    def test_a_line_is_read(self) -> None:
        line = r'W1121 20:46:29.360040 8425 model.cc:273] "two\nlines"'
        assert parse_line(line) == Entry(Level.WARNING, "two\nlines")

    def test_a_line_without_a_head_goes_on_with_the_level(self) -> None:
        assert parse_line("  File model.py", Level.ERROR) == Entry(Level.ERROR, "  File model.py", bare=True)
        assert parse_line("+-----+") == Entry(Level.INFO, "+-----+", bare=True)

    def test_what_a_machine_without_a_gpu_says_is_not_shown(self) -> None:
        assert not error("CudaDriverHelper has not been initialized.").worth_showing
        assert error("something else").worth_showing
        assert not Entry(Level.INFO, "something else").worth_showing

    @pytest.mark.parametrize(
        ("entries", "sentence"),
        [
            pytest.param(
                [
                    error("CudaDriverHelper has not been initialized."),
                    error(
                        "failed to load 'fusion' version 2: Internal: TritonModelException: no policy\n\nAt:\n"
                        "  /models/fusion/1/model.py(12): initialize\n"
                    ),
                    error("ensemble 'trident' depends on 'fusion' which has no loaded version"),
                ],
                "model fusion version 2 does not load: no policy",
                id="a model that fails",
            ),
            pytest.param(
                [error("failed to start GRPC service: Unavailable - Socket '127.0.0.1:8001' already in use")],
                "a port is taken: failed to start GRPC service: Unavailable - Socket '127.0.0.1:8001' already in use",
                id="a port",
            ),
            pytest.param([error("Internal: it broke\nbadly")], "it broke badly", id="anything else"),
            pytest.param([Entry(Level.INFO, "fine so far")], "it says nothing about why", id="nothing"),
            pytest.param(
                bare(
                    "/wheel/bin/tritonserver: unrecognized option '--bogus-option=3'",
                    *("Usage: tritonserver [options]", "Logging:", "  --log-error <boolean>", "\tLog what failed.", ""),
                ),
                "unrecognized option '--bogus-option=3'",
                id="an option that it does not know",
            ),
            pytest.param(
                bare(
                    *("Usage: tritonserver [options]", "  --exit-on-error <boolean>"),
                    *('Bad option: "--log-verbose".', "Invalid option value. Got abc", ""),
                ),
                'Bad option: "--log-verbose". Invalid option value. Got abc',
                id="a value that an option does not take",
            ),
            pytest.param(bare("no licence", ""), "no licence", id="a line of its own, before its log is open"),
            pytest.param(
                [Entry(Level.INFO, "fine so far"), *bare("+----+", "| model with an error |", "a model prints", "  ")],
                "it says nothing about why",
                id="tables and prints of a server that ran",
            ),
        ],
    )
    def test_the_reason_is_one_sentence(self, entries: list[log.Entry], sentence: str) -> None:
        assert reason(entries) == sentence


def test_what_triton_says_before_its_log_is_open_is_passed_on_with_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "tritonserver"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'libcudart.so.12: cannot open shared object file' >&2\nexit 127\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    server = TritonServer(write_repository(tmp_path), model="linear", grpc_port=0, http_port=0, metrics_port=0)

    sentence = r"^Triton did not start \(exit code 127\): libcudart\.so\.12: cannot open shared object file$"
    with pytest.raises(SetupError, match=sentence):
        server.start()


class TestRepository:
    def test_one_that_is_complete_passes(self, tmp_path: Path) -> None:
        check_repository(write_repository(tmp_path), "linear")

    def test_a_network_that_was_not_exported_is_named(self, tmp_path: Path) -> None:
        (write_repository(tmp_path) / "linear" / "1" / "model.onnx").unlink()
        with pytest.raises(SetupError, match=r"^no network has been exported for linear \(.*\): run `make export`$"):
            TritonServer(tmp_path, model="linear").start()

    def test_a_folder_without_models_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(SetupError, match="is not a model repository"):
            check_repository(tmp_path, None)

    def test_a_missing_folder_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(SetupError, match="there is no model repository at"):
            check_repository(tmp_path / "nowhere", None)

    def test_an_installation_without_a_clone_says_what_to_do(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        default = tmp_path / "site-packages" / "model_repository"
        monkeypatch.setattr("trident.model_config.DEFAULT_REPOSITORY", default)
        advice = r"model_repository: start from a clone of the repository, or pass --model-repository$"
        with pytest.raises(SetupError, match=advice):
            check_repository(default, None)

    def test_a_model_to_wait_for_that_is_not_there_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(SetupError, match=r"holds no model 'trident', only linear$"):
            check_repository(write_repository(tmp_path), "trident")

    def test_a_configuration_that_is_no_configuration_is_named(self, tmp_path: Path) -> None:
        write_repository(tmp_path, 'name: "linear"\nmax_batch_sise: 8')
        with pytest.raises(SetupError, match=r"linear/config\.pbtxt is not a valid model configuration: 2:1"):
            check_repository(tmp_path, None)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


class TestRunFolder:
    def test_it_is_private_and_gone_without_a_trace(self, temporary: Path) -> None:
        folder = RunFolder.create()
        assert folder.path.stat().st_mode & 0o777 == 0o700

        folder.release()
        folder.remove()

        assert list(temporary.iterdir()) == []

    def test_one_whose_keepers_were_killed_is_cleared_with_its_shared_memory(self, temporary: Path) -> None:
        dead = RunFolder.create()
        dead.release()  # as the kernel does for a killed process
        memory = leftovers.SHARED_MEMORY / f"{dead.name}-region"
        memory.touch()

        living = RunFolder.create()

        assert not dead.path.exists()
        assert not memory.exists()
        assert living.path.exists()
        living.release()
        living.remove()

    def test_a_living_one_is_left_alone(self, temporary: Path) -> None:
        one, other = RunFolder.create(), RunFolder.create()
        assert one.path.exists()
        for folder in (one, other):
            folder.release()
            folder.remove()

    def test_a_place_that_others_can_write_to_is_refused(self, temporary: Path) -> None:
        leftovers.run_folders().mkdir()
        leftovers.run_folders().chmod(0o777)
        with pytest.raises(SetupError, match="is not a folder of yours alone"):
            RunFolder.create()


class DrainingTriton:
    """The launcher's connection to a Triton whose model ends ``drains`` looks after it was replaced; None for never."""

    def __init__(self, server: TritonServer, drains: int | None) -> None:
        self._server = server
        self._left = drains
        self.calls: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.calls.append("closed")

    def config(self, model: str) -> ModelConfig:
        return ModelConfig(name=model)

    def load(self, model: str, config: ModelConfig, files: dict[str, bytes]) -> None:
        self.calls.append(f"load {model} {sorted(files)}")
        if self._left is not None:
            threading.Timer(0.1 * self._left, self._drained, [model]).start()

    def _drained(self, model: str) -> None:
        self._server._unloads[model] += 1


class TestStopping:
    """``stop`` with a process in the guard's place, and a fake in Triton's."""

    @staticmethod
    def running(
        monkeypatch: pytest.MonkeyPatch, grace_s: float, drains: int | None = None
    ) -> tuple[TritonServer, subprocess.Popen[bytes], DrainingTriton]:
        server = TritonServer(model="linear", grace_s=grace_s)
        # Ends when it is told to, as the guard does.
        guard = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read(1)"], stdin=subprocess.PIPE)
        triton = DrainingTriton(server, drains)
        monkeypatch.setattr(server, "connect", lambda **_: triton)
        server._guard, server._serving = guard, True
        return server, guard, triton

    def test_the_model_is_replaced_and_waited_for_before_triton_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        server, guard, triton = self.running(monkeypatch, grace_s=30.0, drains=2)
        begin = time.monotonic()

        server.stop()

        assert triton.calls == ["load linear ['1/model.py']", "closed"]
        assert 0.2 <= time.monotonic() - begin < 10.0
        assert guard.returncode == 0

    def test_it_waits_no_longer_than_the_grace(self, monkeypatch: pytest.MonkeyPatch) -> None:
        server, guard, _ = self.running(monkeypatch, grace_s=0.5)
        begin = time.monotonic()

        server.stop()

        assert 0.5 <= time.monotonic() - begin < 5.0
        assert guard.returncode == 0

    def test_it_can_be_hurried(self, monkeypatch: pytest.MonkeyPatch) -> None:
        server, guard, _ = self.running(monkeypatch, grace_s=60.0)
        threading.Timer(0.3, server.hurry).start()
        begin = time.monotonic()

        server.stop()

        assert 0.3 <= time.monotonic() - begin < 10.0
        assert guard.returncode == 0

    def test_an_interrupt_while_it_waits_still_ends_the_server(self, monkeypatch: pytest.MonkeyPatch) -> None:
        server, guard, _ = self.running(monkeypatch, grace_s=60.0)

        def interrupt(deadline: float) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(server, "_drain", interrupt)
        with pytest.raises(KeyboardInterrupt):
            server.stop()
        assert guard.returncode == 0

    def test_one_that_does_not_answer_is_not_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        server, guard, triton = self.running(monkeypatch, grace_s=60.0)

        def lost(*_: object) -> None:
            raise ServerLost("nobody", "UNAVAILABLE")

        for call in ("load", "unload"):
            monkeypatch.setattr(triton, call, lost, raising=False)
        begin = time.monotonic()

        server.stop()

        assert time.monotonic() - begin < 10.0
        assert guard.returncode == 0


@pytest.mark.parametrize("again", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_hurries_serve_and_cuts_nothing_short(
    monkeypatch: pytest.MonkeyPatch, again: signal.Signals
) -> None:
    happened: list[str] = []

    class Server:
        grpc_url = http_url = metrics_url = "here"
        log_entries: tuple[Entry, ...] = ()
        loaded_unverified: tuple[str, ...] = ()
        repository = Path("nowhere")

        def __init__(self, *_: object, **options: object) -> None:
            happened.append(f"grace {options['grace_s']}")

        def start(self) -> None:
            happened.append("start")

        def wait(self) -> int:
            signal.raise_signal(signal.SIGTERM)
            raise AssertionError("not stopped")

        def hurry(self) -> None:
            happened.append("hurry")

        def stop(self) -> None:
            signal.raise_signal(again)
            happened.append("stopped")

    monkeypatch.setattr("trident.commands.serve.TritonServer", Server)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        result = CliRunner().invoke(serve, ["--grace=7", "--no-supervise"])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

    assert result.exit_code == 0, result.exception
    assert happened == ["grace 7.0", "start", "hurry", "stopped"]
