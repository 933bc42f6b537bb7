import netrc
from pathlib import Path

import pytest

from dsgo.ftp_connection import Server
from dsgo.ftp_credentials import Login, find_login


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch, tmp_path):
    for name in ("DSGO_FTP_USER", "DSGO_FTP_PASSWORD", "DSGO_FTP_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DSGO_HOME", str(tmp_path / "home"))


def give_env_file(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/.env").write_text("DSGO_FTP_USER=dsgo\nDSGO_FTP_PASSWORD=of-the-file\n")


def give_netrc(tmp_path: Path, text: str, mode: int = 0o600) -> None:
    (tmp_path / ".netrc").write_text(text)
    (tmp_path / ".netrc").chmod(mode)


def test_order(monkeypatch, tmp_path):
    own = ("127.0.0.1", 2121, None, None)
    assert find_login(*own) is None
    in_uri = ("127.0.0.1", 2121, "u", "of-the-uri")
    assert find_login(*in_uri) == Login("u", "of-the-uri", "the artifact URI")
    give_netrc(tmp_path, "machine 127.0.0.1 login n password of-netrc")
    assert find_login(*own).password == "of-netrc"
    give_env_file(tmp_path)
    assert find_login(*own).password == "of-the-file"
    monkeypatch.setenv("DSGO_FTP_PASSWORD", "of-the-environment")
    monkeypatch.setenv("DSGO_FTP_USER", "e")
    assert find_login(*own) == Login("e", "of-the-environment", "DSGO_FTP_USER and DSGO_FTP_PASSWORD")


def test_the_env_file_is_for_its_own_server_only(tmp_path):
    give_env_file(tmp_path)
    assert find_login("127.0.0.1", 2121) is not None
    assert find_login("127.0.0.1", 2122) is None
    assert find_login("192.0.2.1", 2121) is None


def test_a_user_in_the_uri_chooses(monkeypatch, tmp_path):
    give_netrc(tmp_path, "machine 127.0.0.1 login n password of-netrc")
    monkeypatch.setenv("DSGO_FTP_USER", "e")
    monkeypatch.setenv("DSGO_FTP_PASSWORD", "of-the-environment")
    assert find_login("127.0.0.1", 21, "n").password == "of-netrc"
    assert find_login("127.0.0.1", 21, "e").password == "of-the-environment"
    assert find_login("127.0.0.1", 21, "u", "of-the-uri").password == "of-the-uri"
    assert find_login("127.0.0.1", 21, "u") is None


def test_a_password_without_user_is_for_the_user_of_the_uri(monkeypatch):
    monkeypatch.setenv("DSGO_FTP_PASSWORD", "p")
    assert find_login("h", 21, "someone").user == "someone"
    assert find_login("h", 21).user == "dsgo"


@pytest.mark.parametrize(
    "mode, text", [(0o644, "machine h login u password s3cret"), (0o600, "machine h s3cret s3cret")]
)
def test_a_netrc_that_cannot_be_used(tmp_path, mode, text):
    give_netrc(tmp_path, text, mode)
    with pytest.raises(netrc.NetrcParseError) as caught:
        find_login("h", 21)
    assert ".netrc" in str(caught.value) and "s3cret" not in str(caught.value)


def test_the_default_of_netrc_is_for_nobody(tmp_path):
    give_netrc(tmp_path, "default login anonymous password a@b")
    assert find_login("h", 21) is None


def test_no_secret_in_a_repr():
    shown = repr(Login("the-user", "the-password", "x")) + repr(Server("h", 21, "the-user", "the-password"))
    assert "the-user" not in shown and "the-password" not in shown
