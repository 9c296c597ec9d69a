"""The file that names the servers of a fleet."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.readme import ROOT, blocks, commands
from trident.commands.supervision import HEALTH_PORT
from trident.errors import SetupError
from trident.fleet.file import Server, read_fleet
from trident.launcher.server import GRPC_PORT
from trident_client.settings import TLS

ONE = '[[server]]\nname = "a"\nurl = "127.0.0.1:8001"\nmodel_repository = "a"\n'


def written(folder: Path, text: str) -> Path:
    file = folder / "fleet.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_servers_are_read_in_their_order_and_paths_from_the_file_s_folder(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        """
        [[server]]
        name = "west"
        url = "grpcs://west.example:8001"
        model_repository = "west/models"
        admin_key_file = "/run/keys/west"

        [server.tls]
        ca = "ca.pem"
        certificate = "client.pem"
        key = "client.key"
        server_name = "trident"

        [[server]]
        name = "east-2"
        url = "10.0.0.12"
        model_repository = "/srv/east/models"
        """,
    )

    west, east = read_fleet(file)

    tls = TLS(tmp_path / "ca.pem", tmp_path / "client.pem", tmp_path / "client.key", "trident")
    assert west == Server("west", "grpcs://west.example:8001", tmp_path / "west/models", Path("/run/keys/west"), tls)
    assert east == Server("east-2", "10.0.0.12", Path("/srv/east/models"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", "expected a table [[server]] for each server, got none", id="empty"),
        pytest.param("[[server]\n", "is not TOML", id="not TOML"),
        pytest.param('[server]\nname = "a"\n', "expected a table [[server]] for each server", id="a table of one"),
        pytest.param("server = [1]\n", "expected a table [[server]] for each server", id="no tables"),
        pytest.param(f"proxy = 1\n{ONE}", "expected [[server]] alone, got proxy too", id="something beside"),
        pytest.param(
            '[[server]]\nname = "a"\n',
            "server 'a': expected name, url, model_repository, got no url and no",
            id="missing",
        ),
        pytest.param("[[server]]\n", "server number 1: expected name, url", id="without a name"),
        pytest.param(f"{ONE}color = 'red'\n", "server 'a': expected some of name, url", id="unknown key"),
        pytest.param(
            ONE.replace('"127.0.0.1:8001"', "8001"), "server 'a': url: expected a text, got 8001", id="a number"
        ),
        pytest.param(ONE.replace('"a"\nurl', '""\nurl'), "name: expected a text, got an empty one", id="an empty name"),
        pytest.param(ONE.replace('"a"\nurl', '"a b"\nurl'), "name: expected 1 to 63 letters", id="a name with a space"),
        pytest.param(
            ONE.replace("127.0.0.1:8001", "http://a"), "url: expected the address of Triton's gRPC port", id="HTTP"
        ),
        pytest.param(
            ONE.replace("127.0.0.1:8001", "dns:///a"), "expected the address of one server", id="several behind a name"
        ),
        pytest.param(f"{ONE}tls = true\n", "tls: expected a table [server.tls], got bool", id="TLS is no table"),
        pytest.param(
            f"{ONE}[server.tls]\nkey = 'k'\n", "expected certificate and key together", id="half a certificate"
        ),
        pytest.param(
            f"{ONE}[server.tls]\nverify = 'no'\n", "tls: expected some of ca, certificate", id="unknown of TLS"
        ),
        pytest.param(ONE + ONE, "two servers have the same name, a", id="the same name"),
        pytest.param(
            ONE + ONE.replace('"a"\nurl', '"b"\nurl'),
            "a and b have the same url, 127.0.0.1:8001",
            id="the same address",
        ),
        pytest.param(
            ONE + ONE.replace('"a"\nurl', '"b"\nurl').replace("8001", "8002"),
            "a and b have the same model_repository",
            id="the same models",
        ),
        pytest.param(
            ONE + ONE.replace('"a"\nurl', '"b"\nurl').replace("127.0.0.1:8001", "grpc://127.0.0.1"),
            "a and b have the same url",
            id="the same address in other words",
        ),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, expected: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(SetupError) as caught:
        read_fleet(file)
    assert expected in str(caught.value)
    assert str(file) in str(caught.value)


def test_the_same_models_by_another_way_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").symlink_to(tmp_path / "a")
    other = ONE.replace('"a"', '"b"').replace("8001", "8002")
    with pytest.raises(SetupError, match="needs a copy of its own"):
        read_fleet(written(tmp_path, ONE + other))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="cannot be read: No such file"):
        read_fleet(tmp_path / "fleet.toml")


def test_a_file_of_other_bytes(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SetupError, match="expected UTF-8"):
        read_fleet(tmp_path / "fleet.toml")


def test_the_documented_file_fits_the_documented_servers_and_the_proxy_s_addresses(tmp_path: Path) -> None:
    document = ROOT / "docs" / "replicas.md"
    (text,) = blocks(document, "toml")
    servers = read_fleet(written(tmp_path, text))
    started = {}
    for _, *words in (words for words in commands(document) if words[0].endswith("trident") and words[1] == "serve"):
        given = dict(zip(words[1::2], words[2::2], strict=True))
        port = given.get("--grpc-port", str(GRPC_PORT)), given.get("--health-port", str(HEALTH_PORT))
        started[Path(given["--model-repository"])] = port
    presets = dict(
        re.findall(r"^ +presetenv (\S+) (\S+)$", (ROOT / "deploy/proxy/haproxy.cfg").read_text(), re.MULTILINE)
    )

    assert [server.name for server in servers] == ["a", "b", "c"]
    for server in servers:
        grpc_port, health_port = started[server.model_repository]
        assert server.url == f"127.0.0.1:{grpc_port}" == presets[f"TRIDENT_{server.name.upper()}"]
        assert presets[f"TRIDENT_{server.name.upper()}_HEALTH"] == health_port
