"""Addresses, TLS and retry settings."""

from __future__ import annotations

import json

import click
import pytest
from click.testing import CliRunner

from trident_client import TLS, AsyncTridentClient, Retries, ServerUnreachable, SettingsError, TridentClient
from trident_client.options import connection_of, connection_options
from trident_client.settings import Address, address


@pytest.mark.parametrize(
    ("url", "target", "secure"),
    [
        pytest.param("127.0.0.1:8001", "127.0.0.1:8001", False, id="host and port"),
        pytest.param("vision.example", "vision.example:8001", False, id="port by default"),
        pytest.param("grpc://host:9/", "host:9", False, id="grpc scheme"),
        pytest.param("grpcs://host:9", "host:9", True, id="grpcs scheme means TLS"),
        pytest.param("[::1]:9", "[::1]:9", False, id="IPv6"),
        pytest.param("dns:///host:9", "dns:///host:9", False, id="DNS name of several servers"),
        pytest.param("unix:/run/triton.sock", "unix:/run/triton.sock", False, id="socket"),
    ],
)
def test_addresses(url, target, secure):
    assert address(url) == Address(target, secure)


def test_the_address_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("TRIDENT_URL", "elsewhere:7")
    assert address(None).target == "elsewhere:7"
    assert address("here:1").target == "here:1"
    monkeypatch.delenv("TRIDENT_URL")
    assert address(None).target == "127.0.0.1:8001"


@pytest.mark.parametrize(
    "url", ["http://host:8000", "ftp://host", "host:port", "host:0", "host:65536", "a b", "", "::1"]
)
def test_other_addresses_are_refused(url):
    with pytest.raises(SettingsError, match=r"^url: expected "):
        address(url)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        pytest.param({"attempts": 0}, "attempts: expected 1 to 5, got 0", id="no attempt"),
        pytest.param({"attempts": 6}, "attempts: expected 1 to 5, got 6", id="more than gRPC does"),
        pytest.param({"budget": 0}, "budget: expected 1 to 500, got 0", id="no budget"),
        pytest.param({"first_backoff": 3}, "first_backoff <= longest_backoff", id="backoff shrinks"),
    ],
)
def test_retries_that_make_no_sense_are_refused(settings, words):
    with pytest.raises(SettingsError, match=words):
        Retries(**settings)


def test_only_unavailable_is_retried():
    config = json.loads(Retries().service_config(("ModelInfer",), balance=False))
    assert config["methodConfig"][0]["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE"]
    assert "loadBalancingConfig" not in config
    assert "methodConfig" not in json.loads(Retries(attempts=1).service_config((), balance=True))


def test_a_name_of_several_servers_is_called_at_all_of_them():
    assert address("dns:///host:1").balanced
    config = json.loads(Retries().service_config((), balance=True))
    assert config["loadBalancingConfig"] == [{"round_robin": {}}]


def test_half_of_mutual_tls_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="both a certificate and its key"):
        TridentClient("host:1", tls=TLS(certificate=tmp_path / "a.pem"))


def test_certificates_must_be_there_and_be_pem(tmp_path):
    with pytest.raises(SettingsError, match=r"tls\.ca: cannot read .*gone\.pem: No such file"):
        TridentClient("host:1", tls=TLS(ca=tmp_path / "gone.pem"))
    (tmp_path / "photo.pem").write_bytes(b"\x00\x01")
    with pytest.raises(SettingsError, match=r"tls\.ca: expected a PEM file, got .*photo\.pem"):
        TridentClient("host:1", tls=TLS(ca=tmp_path / "photo.pem"))


def test_mutual_tls(guarded, certificates):
    tls = TLS(certificates / "ca.pem", certificates / "client.pem", certificates / "client.key", "vision.example")
    with TridentClient(guarded.url, tls=tls, timeout=5) as client:
        assert client.analyze(b"picture").width == 640


@pytest.mark.parametrize("missing", ["certificate", "authority", "server name"])
def test_tls_is_not_negotiable(guarded, certificates, missing):
    own = (None, None) if missing == "certificate" else (certificates / "client.pem", certificates / "client.key")
    ca = None if missing == "authority" else certificates / "ca.pem"
    tls = TLS(ca, *own, None if missing == "server name" else "vision.example")
    with (
        TridentClient(guarded.url, tls=tls, timeout=5, retries=Retries(attempts=1)) as client,
        pytest.raises(ServerUnreachable),
    ):
        client.analyze(b"picture")
    assert guarded.requests == []


@pytest.fixture
def in_environment(guarded, certificates, monkeypatch):
    """The variables that lead to a server which wants TLS, and a certificate."""
    variables = {
        "TRIDENT_URL": guarded.url,
        "TRIDENT_TLS_CA": str(certificates / "ca.pem"),
        "TRIDENT_TLS_CERTIFICATE": str(certificates / "client.pem"),
        "TRIDENT_TLS_KEY": str(certificates / "client.key"),
        "TRIDENT_TLS_SERVER_NAME": "vision.example",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_tls_from_the_environment(in_environment, guarded):
    with TridentClient(timeout=5) as client:
        assert client.analyze(b"picture").width == 640


async def test_tls_from_the_environment_with_asyncio(in_environment, guarded):
    async with AsyncTridentClient(timeout=5) as client:
        assert (await client.analyze(b"picture")).width == 640


def test_the_environment_speaks_of_the_server_that_it_names_and_of_no_other(in_environment, guarded):
    with (
        TridentClient(guarded.url, timeout=5, retries=Retries(attempts=1)) as client,
        pytest.raises(ServerUnreachable),
    ):
        client.analyze(b"picture")
    assert guarded.requests == []


@pytest.mark.parametrize(("value", "wanted"), [("1", True), ("true", True), ("", False), ("0", False), ("No", False)])
def test_tls_without_files(monkeypatch, value, wanted):
    monkeypatch.setenv("TRIDENT_TLS", value)
    assert TLS.from_environment() == (TLS() if wanted else None)


def understood(*arguments):
    found = []

    @click.command()
    @connection_options
    def command(**options):
        found.append(connection_of(options))

    result = CliRunner().invoke(command, list(arguments))
    assert result.exit_code == 0, result.output
    return found[0]


@pytest.mark.parametrize(
    "names",
    [
        ("--tls-ca", "--tls-certificate", "--tls-key", "--tls-server-name"),
        ("--ca", "--cert", "--key", "--server-name"),
    ],
    ids=["by their names", "by their short ones"],
)
def test_the_options_of_a_command_line(certificates, names, tmp_path):
    files = [certificates / name for name in ("ca.pem", "client.pem", "client.key")]
    given = [word for pair in zip(names, [*map(str, files), "vision.example"], strict=True) for word in pair]
    found = understood("--url", "host:1", *given, "--admin-key-file", str(tmp_path / "key"))
    assert found == ("host:1", TLS(*files, "vision.example"), {}, tmp_path / "key")


def test_options_from_the_environment(in_environment, guarded, certificates, monkeypatch, tmp_path):
    monkeypatch.setenv("TRIDENT_ADMIN_KEY_FILE", str(tmp_path / "not there yet"))
    files = [certificates / name for name in ("ca.pem", "client.pem", "client.key")]
    assert understood() == (guarded.url, TLS(*files, "vision.example"), {}, tmp_path / "not there yet")


def test_without_options_nothing_is_encrypted(monkeypatch):
    for name in ("TRIDENT_URL", "TRIDENT_TLS", "TRIDENT_ADMIN_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    assert understood() == (None, None, {}, None)
