"""Which servers of a fleet answer, and what the commands say and refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from trident.cli import main
from trident.fleet import status as fleet_status
from trident.fleet.file import Server
from trident.fleet.status import MemberStatus, common_release, status_table
from trident_client.status import LoadedVersion, ModelStatus, ServerStatus

FILE = "".join(
    f'[[server]]\nname = "{name}"\nurl = "127.0.0.1:{port}"\nmodel_repository = "{name}"\n'
    for name, port in (("a", 9), ("b", 19), ("c", 29))
)


def answering(name: str, *, ready: bool = True, **versions: tuple[int, str]) -> MemberStatus:
    models = tuple(
        ModelStatus(component, (LoadedVersion(version, "READY", "", digest or None),), version, "trident")
        for component, (version, digest) in versions.items()
    )
    status = ServerStatus("127.0.0.1:9", "triton", "2.51.0", True, ready, models, ())
    return MemberStatus(Server(name, "127.0.0.1:9", Path(name)), status, "", "")


def silent(name: str) -> MemberStatus:
    return MemberStatus(Server(name, "127.0.0.1:9", Path(name)), None, "cannot reach a server", "")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    path = tmp_path / "fleet.toml"
    path.write_text(FILE)
    return path


def shown(monkeypatch: pytest.MonkeyPatch, file: Path, seen: list[MemberStatus], *options: str) -> tuple[int, str]:
    monkeypatch.setattr(fleet_status, "look_at_all", lambda *_, **__: seen)
    result = CliRunner(env={"COLUMNS": "160"}).invoke(main, ["status", "--fleet", str(file), *options])
    return result.exit_code, result.output


def test_what_a_server_serves_otherwise_than_most_stands_beside_it(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    one, two, other = (2, "sha256:aa"), (1, "sha256:bb"), (2, "sha256:cc")
    seen = [
        answering("a", classifier=one, fusion=two),
        answering("b", classifier=two, fusion=two),
        answering("c", classifier=one, fusion=two),
        answering("d", classifier=other, fusion=two),
    ]
    assert common_release(seen) == {"classifier": one, "fusion": two}
    otherwise = [str(cell) for cell in status_table(seen).columns[3].cells]
    assert otherwise == ["", "classifier 1", "", "another classifier 2"]

    code, said = shown(monkeypatch, file, seen)
    assert code == 0
    assert "Most serve classifier 2, fusion 1." in said


def test_without_one_of_them_it_does_not_pass(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    code, said = shown(monkeypatch, file, [answering("a", fusion=(1, "")), silent("b")])
    assert code == 1
    assert "cannot reach a server" in said
    assert "All that answer serve fusion 1." in said

    code, said = shown(monkeypatch, file, [answering("a", ready=False, fusion=(1, ""))], "--json")
    assert code == 1
    assert json.loads(said)["servers"][0]["server"]["ready"] is False


def test_servers_that_are_not_there_are_said_by_their_names(file: Path) -> None:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(
        main, ["status", "--fleet", str(file), "--timeout", "1", "--json"]
    )
    servers = json.loads(result.output)["servers"]

    assert result.exit_code == 1
    assert [one["name"] for one in servers] == ["a", "b", "c"]
    assert all(one["error"] for one in servers)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(
            ["rollout", "classifier", "2", "--url", "127.0.0.1:1"], "--url: with --fleet, the file says", id="a server"
        ),
        pytest.param(["rollback", "classifier", "--tls"], "--tls: with --fleet, the file says", id="encryption"),
        pytest.param(["retire", "--model-repository", "x"], "--model-repository: with --fleet", id="a repository"),
        pytest.param(["versions", "classifier", "--header", "a=b"], "--header: with --fleet", id="a header"),
        pytest.param(["status", "--url", "127.0.0.1:1"], "--url: with --fleet", id="the status of one"),
        pytest.param(["status", "--watch"], "--watch shows one server", id="the live view"),
        pytest.param(["rollout"], "say what to roll out", id="nothing"),
        pytest.param(["rollout", "--resume", "--abort"], "exclude each other", id="both ways out"),
    ],
)
def test_options_that_do_not_go_with_several_servers(file: Path, arguments: list[str], expected: str) -> None:
    result = CliRunner().invoke(main, [*arguments, "--fleet", str(file)])
    assert result.exit_code == 2
    assert expected in result.output


def test_the_environment_s_server_is_left_aside(file: Path) -> None:
    result = CliRunner(env={"TRIDENT_URL": "127.0.0.1:1"}).invoke(
        main, ["versions", "classifier", "--fleet", str(file)]
    )
    assert "with --fleet" not in result.output
    assert result.exit_code == 1, "the folders are empty"
    assert "a: " in result.output


def test_a_mistake_in_the_file_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text("[[server]]\n")
    for command in (["rollout", "classifier", "2"], ["status"], ["retire"]):
        result = CliRunner().invoke(main, [*command, "--fleet", str(file)])
        assert result.exit_code == 1
        assert result.output.startswith("Error: "), result.output
        assert "server number 1: expected name, url, model_repository" in result.output
