"""What Triton is told of who may ask what, and what a command line shows of it."""

from __future__ import annotations

import doctest

import pytest
from click.testing import CliRunner

from trident.access import restrictions
from trident.access.marks import HIDDEN, PLACEHOLDER
from trident.access.restrictions import CONTROL, OPEN, Access, without_key
from trident.access.tls import ServerTLS
from trident.commands.serve import serve
from trident.errors import SetupError
from trident.launcher import TritonServer
from trident.launcher.installation import Installation


def test_the_examples():
    assert doctest.testmod(restrictions).failed == 0


class TestArguments:
    def test_by_default_control_is_for_the_holder_of_the_key(self):
        (rule,) = Access().arguments()
        groups, _, key = rule.removeprefix("--grpc-restricted-protocol=").partition(":")
        assert set(groups.split(",")) == set(CONTROL)
        assert key == f"trident-admin={PLACEHOLDER}"
        assert not {"inference", "health", "metadata", "statistics"} & set(CONTROL)

    def test_an_open_http_side_is_restricted_alike(self):
        grpc, http = Access(http=True).arguments()
        assert http == grpc.replace("--grpc-restricted-protocol", "--http-restricted-api")

    def test_plain_triton_is_told_nothing(self):
        assert OPEN.arguments() == []

    def test_tls(self, tmp_path):
        tls = ServerTLS(tmp_path / "server.pem", tmp_path / "server.key")
        assert Access(restricted=False, tls=tls).arguments() == [
            "--grpc-use-ssl=true",
            f"--grpc-server-cert={tmp_path}/server.pem",
            f"--grpc-server-key={tmp_path}/server.key",
        ]
        mutual = ServerTLS(tls.certificate, tls.key, tmp_path / "ca.pem")
        assert Access(restricted=False, tls=mutual).arguments()[3:] == [
            f"--grpc-root-cert={tmp_path}/ca.pem",
            "--grpc-use-ssl-mutual=true",
        ]
        assert Access(restricted=False, tls=tls).arguments(mutual) == mutual.arguments()

    def test_tls_and_open_http_exclude_each_other(self, tmp_path):
        with pytest.raises(SetupError, match="HTTP side would undo TLS"):
            Access(http=True, tls=ServerTLS(tmp_path / "a", tmp_path / "b"))


class TestServer:
    def command(self, tmp_path, **options):
        server = TritonServer(tmp_path, **options)
        return server, server._command(Installation(tmp_path / "tritonserver", None, ()), "name")

    def test_a_closed_http_side_listens_nowhere(self, tmp_path):
        server, command = self.command(tmp_path, access=Access())
        assert "--allow-http=false" in command
        assert not [word for word in command if word.startswith(("--http-port", "--http-address"))]
        assert server.http_url is None
        assert set(server.ports) == {"gRPC", "metrics"}

    def test_an_open_one_does(self, tmp_path):
        server, command = self.command(tmp_path, http_port=7)
        assert "--http-port=7" in command
        assert "--allow-http=false" not in command
        assert server.http_url == "http://127.0.0.1:7"
        assert not [word for word in command if "restricted" in word]


class TestWithoutKey:
    @pytest.mark.parametrize(
        ("words", "shown"),
        [
            pytest.param(
                ["--http-restricted-api=a,b:k=secret"], ["--http-restricted-api=a,b:k=…"], id="a restricted API"
            ),
            pytest.param(
                ["--grpc-restricted-protocol", "a:k=secret", "--x=1"],
                ["--grpc-restricted-protocol", "a:k=…", "--x=1"],
                id="in two words",
            ),
            pytest.param(
                ["--grpc-restricted-protocol=a:k=secret=="], ["--grpc-restricted-protocol=a:k=…"], id="a key with ="
            ),
            pytest.param(["tritonserver", "--a=b=c"], ["tritonserver", "--a=b=c"], id="nothing to hide"),
        ],
    )
    def test_no_key_is_shown(self, words, shown):
        assert without_key(words) == shown


class TestServe:
    """The options of the command, understood."""

    @pytest.fixture
    def given(self, monkeypatch, tmp_path):
        for name in ("a.pem", "a.key", "ca.pem"):
            (tmp_path / name).touch()
        taken = {}

        class Server:
            def __init__(self, *_, **options):
                taken.update(options)
                raise SetupError("enough")

        monkeypatch.setattr("trident.commands.serve.TritonServer", Server)
        monkeypatch.delenv("TRIDENT_ADMIN_KEY_FILE", raising=False)

        def run(*arguments):
            result = CliRunner().invoke(serve, [argument.replace("@", f"{tmp_path}/") for argument in arguments])
            assert isinstance(result.exception, SetupError), result.output
            return taken["access"]

        run.folder = tmp_path
        return run

    def test_closed_by_default(self, given):
        assert given() == Access(restricted=True, http=False, tls=None, key_file=None)

    @pytest.mark.parametrize("option", [["--http"], ["--http-port=8000"], ["--http-port", "0"]])
    def test_http_is_open_where_it_is_asked_for(self, given, option):
        assert given(*option) == Access(http=True)

    def test_control_can_be_opened(self, given):
        assert given("--open-control") == Access(restricted=False)

    def test_the_file_of_the_key(self, given, monkeypatch):
        assert given("--admin-key-file=@key").key_file == given.folder / "key"
        monkeypatch.setenv("TRIDENT_ADMIN_KEY_FILE", "/elsewhere")
        assert str(given().key_file) == "/elsewhere"

    def test_mutual_tls(self, given):
        tls = given("--tls-certificate=@a.pem", "--tls-key=@a.key", "--tls-client-ca=@ca.pem").tls
        assert tls == ServerTLS(given.folder / "a.pem", given.folder / "a.key", given.folder / "ca.pem")

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (["--tls-certificate=@a.pem"], "--tls-certificate and --tls-key go together"),
            (["--tls-key=@a.key"], "--tls-certificate and --tls-key go together"),
            (["--tls-client-ca=@ca.pem"], "--tls-client-ca asks for --tls-certificate"),
            (["--tls-certificate=@none.pem", "--tls-key=@a.key"], "does not exist"),
        ],
    )
    def test_what_does_not_go_together(self, given, arguments, sentence):
        result = CliRunner().invoke(serve, [argument.replace("@", f"{given.folder}/") for argument in arguments])
        assert result.exit_code == 2
        assert sentence in result.output


def test_the_mark_is_no_key_that_a_file_could_hold():
    """A server that got the mark in place of the key would not be opened by what a file holds."""
    assert len(HIDDEN) < 16
