"""``trident certificates``, and what a server's files must be."""

from __future__ import annotations

import ssl
import stat
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from trident.access.authority import Authority, name_in
from trident.access.own_identity import own_connection
from trident.access.tls import ServerTLS
from trident.cli import main
from trident.errors import SetupError


def make(folder, *arguments):
    return CliRunner().invoke(main, ["certificates", str(folder), *arguments])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates") / "new"
    result = make(folder, "--client", "camera", "--client", "phone", "--days", "3")
    assert result.exit_code == 0, result.output
    return folder


def certificate(file):
    return x509.load_pem_x509_certificate(file.read_bytes())


def handshake(server_side, client_side, name):
    """What TLS makes of two contexts, without a network."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_side.wrap_bio(to_server, to_client, server_side=True)
    client = client_side.wrap_bio(to_client, to_server, server_hostname=name)
    open_ends = [client, server]
    for _ in range(10):
        for end in list(open_ends):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            open_ends.remove(end)
    assert not open_ends
    client.write(b"x")
    assert server.read(1) == b"x"  # the server has then looked at the client's certificate
    return client


class TestCommand:
    def test_it_writes_what_a_server_and_clients_need_and_says_how(self, made):
        assert {path.name for path in made.iterdir()} == {
            *("ca.pem", "server.pem", "server.key", "camera.pem", "camera.key", "phone.pem", "phone.key")
        }

    def test_keys_are_this_users_alone(self, made):
        for path in made.glob("*.key"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_the_authoritys_key_is_not_kept(self, made):
        assert not (made / "ca.key").exists()
        assert b"PRIVATE" not in (made / "ca.pem").read_bytes()

    @pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
    def test_server_and_client_know_each_other(self, made, name):
        server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server_side.load_cert_chain(made / "server.pem", made / "server.key")
        server_side.load_verify_locations(made / "ca.pem")
        server_side.verify_mode = ssl.CERT_REQUIRED
        client_side = ssl.create_default_context(cafile=made / "ca.pem")
        client_side.load_cert_chain(made / "phone.pem", made / "phone.key")
        assert handshake(server_side, client_side, name).getpeercert()

    def test_another_name_is_not_taken_for_the_servers(self, made):
        server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server_side.load_cert_chain(made / "server.pem", made / "server.key")
        with pytest.raises(ssl.SSLCertVerificationError, match="vision"):
            handshake(server_side, ssl.create_default_context(cafile=made / "ca.pem"), "vision.example")

    def test_each_is_for_one_use_and_a_short_time(self, made):
        for name, use in (("server", ExtendedKeyUsageOID.SERVER_AUTH), ("phone", ExtendedKeyUsageOID.CLIENT_AUTH)):
            one = certificate(made / f"{name}.pem")
            assert list(one.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [use]
            assert timedelta(days=2) < one.not_valid_after_utc - datetime.now(UTC) <= timedelta(days=3)
        authority = certificate(made / "ca.pem").extensions.get_extension_for_class(x509.BasicConstraints).value
        assert (authority.ca, authority.path_length) == (True, 0)

    def test_nothing_is_overwritten(self, made):
        before = {path: path.read_bytes() for path in made.iterdir()}
        result = make(made)
        assert result.exit_code == 1
        assert "already holds ca.pem, server.pem, server.key" in result.output
        assert {path: path.read_bytes() for path in made.iterdir()} == before

    def test_hosts_can_be_named(self, tmp_path):
        assert make(tmp_path / "c", "--host", "vision.example", "--host", "10.0.0.7").exit_code == 0
        names = certificate(tmp_path / "c" / "server.pem").extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
        assert names.value.get_values_for_type(x509.DNSName) == ["vision.example"]
        assert [str(one) for one in names.value.get_values_for_type(x509.IPAddress)] == ["10.0.0.7"]

    @pytest.mark.parametrize("client", ["../escape", "ca", "server", ""])
    def test_a_clients_name_that_is_no_files_is_refused(self, tmp_path, client):
        result = make(tmp_path / "c", "--client", client)
        assert result.exit_code == 2
        assert "expected a name that can be a file's" in result.output
        assert not (tmp_path / "c").exists()

    def test_a_folder_that_cannot_be_made_is_named(self, tmp_path):
        (tmp_path / "file").touch()
        result = make(tmp_path / "file" / "c")
        assert result.exit_code == 1
        assert "cannot write certificates" in result.output
        assert "Traceback" not in result.output


class TestServersFiles:
    def test_what_the_command_makes_is_good(self, made):
        ServerTLS(made / "server.pem", made / "server.key", made / "ca.pem").check()

    def test_a_key_of_another_certificate(self, made):
        with pytest.raises(SetupError, match="expected a certificate and its own key"):
            ServerTLS(made / "server.pem", made / "phone.key").check()

    def test_a_key_that_everybody_may_read(self, made, tmp_path):
        key = tmp_path / "server.key"
        key.write_bytes((made / "server.key").read_bytes())
        key.chmod(0o644)
        with pytest.raises(SetupError, match="can be read by every user of this machine: chmod 600 it"):
            ServerTLS(made / "server.pem", key).check()

    @pytest.mark.parametrize("which", ["certificate", "key", "client_ca"])
    @pytest.mark.parametrize(("content", "sentence"), [(None, "cannot read"), (b"photo", "expected a PEM file")])
    def test_files_that_are_not_what_they_should_be(self, made, tmp_path, which, content, sentence):
        file = tmp_path / "file"
        if content is not None:
            file.write_bytes(content)
        files = {"certificate": made / "server.pem", "key": made / "server.key", "client_ca": made / "ca.pem"}
        with pytest.raises(SetupError, match=rf"^tls {which.replace('_', ' ')}: {sentence}"):
            ServerTLS(**{**files, which: file}).check()


class TestOwnConnection:
    """How the launcher itself gets in."""

    def test_it_trusts_the_servers_certificate_alone(self, made, tmp_path):
        given = ServerTLS(made / "server.pem", made / "server.key")
        told, own = own_connection(given, tmp_path)
        copy = tmp_path / "server.pem"
        assert copy.read_bytes() == given.certificate.read_bytes()
        assert told == ServerTLS(copy, given.key)
        assert (own.ca, own.certificate, own.key, own.server_name) == (copy, None, None, "localhost")

    def test_with_mutual_tls_it_has_a_certificate_of_its_own(self, made, tmp_path):
        told, own = own_connection(ServerTLS(made / "server.pem", made / "server.key", made / "ca.pem"), tmp_path)
        assert told.client_ca == tmp_path / "client-authorities.pem"
        assert len(x509.load_pem_x509_certificates(told.client_ca.read_bytes())) == 2
        for path in tmp_path.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server_side.load_cert_chain(told.certificate, told.key)
        server_side.load_verify_locations(told.client_ca)
        server_side.verify_mode = ssl.CERT_REQUIRED
        client_side = ssl.create_default_context(cafile=made / "ca.pem")
        for certificate_file, key in ((own.certificate, own.key), (made / "phone.pem", made / "phone.key")):
            client_side.load_cert_chain(certificate_file, key)
            handshake(server_side, client_side, "localhost")

    @pytest.mark.parametrize(
        ("hosts", "name"),
        [(("10.0.0.7",), "10.0.0.7"), (("*.vision.example",), "trident.vision.example"), (("a", "b"), "a")],
    )
    def test_the_name_that_a_certificate_is_valid_for(self, hosts, name):
        assert name_in(Authority("test", 1).server(hosts).certificate) == name

    def test_one_without_a_name(self):
        assert name_in(Authority("test", 1).certificate) is None
        assert name_in(b"nothing") is None

    @pytest.mark.parametrize("host", ["", "a host", "x" * 300])
    def test_a_host_that_is_none(self, host):
        with pytest.raises(SetupError, match="certificates: expected"):
            Authority("test", 1).server((host,))
