"""Settings: what wins, what is refused, and what is handed to other processes."""

from __future__ import annotations

import concurrent.futures
import dataclasses
from pathlib import Path

import pytest

from dsgo.errors import SettingError
from dsgo.settings import Settings, load, password_hash, prepare


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load({"DSGO_HOME": str(tmp_path / "home")})


def test_defaults() -> None:
    settings = load({})
    assert settings.home == settings.checkout / ".dsgo"
    assert (settings.ftp_port, settings.tracking_port, settings.dashboard_port, settings.serve_port) == (
        2121,
        5000,
        8050,
        8003,
    )
    assert settings.artifact_root == "ftp://127.0.0.1:2121/artifacts"
    assert settings.tracking_uri == "http://127.0.0.1:5000"


def test_environment_wins_over_file_wins_over_default(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DSGO_FTP_PORT=3001\nDSGO_TRACKING_PORT=3002\n")
    settings = load({"DSGO_HOME": str(tmp_path), "DSGO_TRACKING_PORT": "3003", "DSGO_SERVE_PORT": ""})
    assert (settings.ftp_port, settings.tracking_port, settings.serve_port) == (3001, 3003, 8003)


def test_a_setting_of_one_collection_is_found_in_the_same_places(settings: Settings, monkeypatch) -> None:
    assert settings.of_a_collection("DSGO_MIRROR", "default") == "default"
    prepare(settings)
    with settings.env_file.open("a") as file:
        file.write("DSGO_MIRROR=of the file\n")
    assert settings.of_a_collection("DSGO_MIRROR", "default") == "of the file"
    monkeypatch.setenv("DSGO_MIRROR", "of the environment")
    assert settings.of_a_collection("DSGO_MIRROR", "default") == "of the environment"


def test_data_is_a_name_an_address_or_an_absolute_path() -> None:
    for data in ("sample", "archive_2", "https://example.org/table.csv", "/srv/table.csv"):
        assert load({"DSGO_DATA": data}).data == data
    for data in ("table.csv", "./table", "Sample", "a folder/table.csv"):
        with pytest.raises(SettingError, match=r"DSGO_DATA=.*a source's name such as sample, a URL"):
            load({"DSGO_DATA": data})


@pytest.mark.parametrize("value", ["80", "65536", "ftp", "2121.0", "-2121", "²", " "])
def test_wrong_port_is_refused_by_name(value: str) -> None:
    with pytest.raises(SettingError, match=r"DSGO_FTP_PORT=.*from 1024 to 65535"):
        load({"DSGO_FTP_PORT": value})


def test_shared_port_is_refused() -> None:
    with pytest.raises(SettingError, match=r"DSGO_TRACKING_PORT=2121 .*different from DSGO_FTP_PORT"):
        load({"DSGO_TRACKING_PORT": "2121"})


@pytest.mark.parametrize(("port", "first"), [("2121", 12_121), ("55495", 65_495), ("55496", 45_496), ("65535", 55_535)])
def test_passive_ports_exist(port: str, first: int) -> None:
    ports = load({"DSGO_FTP_PORT": port}).passive_ports
    assert (ports[0], len(ports)) == (first, 40)
    assert ports[-1] <= 65_535


def test_prepare_makes_up_one_password_for_the_owner_only(settings: Settings) -> None:
    prepared = prepare(settings)
    assert len(prepared.ftp_password) >= 24
    assert prepare(settings) == prepared == load({"DSGO_HOME": str(settings.home)})
    assert settings.env_file.stat().st_mode & 0o777 == 0o600
    assert sorted(file.name for file in settings.home.iterdir() if file.is_file()) == [".env"]


def test_concurrent_first_starts_agree_on_the_password(settings: Settings) -> None:
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        passwords = {prepared.ftp_password for prepared in pool.map(prepare, [settings] * 8)}
    assert len(passwords) == 1


def test_given_password_is_kept(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSGO_FTP_PASSWORD", "given-by-the-operator")
    prepare(load())
    monkeypatch.delenv("DSGO_FTP_PASSWORD")
    assert load().ftp_password == "given-by-the-operator"


def test_password_shows_neither_in_repr_nor_in_what_children_get(settings: Settings) -> None:
    secret = dataclasses.replace(settings, ftp_password="s3cret-Pa55", database_url="postgresql://u:s3cret-Pa55@h/d")
    assert "s3cret-Pa55" not in repr(secret)
    assert "s3cret-Pa55" not in str(secret.child_environment())


def test_children_load_the_same_settings(settings: Settings) -> None:
    other = dataclasses.replace(settings, ftp_port=3001, tracking_port=3002, dashboard_port=3003, serve_port=3004)
    assert load(other.child_environment()) == other


def test_own_servers_are_never_asked_through_a_proxy(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "intranet.example,localhost")
    monkeypatch.delenv("NO_PROXY", raising=False)
    environment = settings.child_environment()
    assert environment["NO_PROXY"] == environment["no_proxy"] == "intranet.example,localhost,127.0.0.1"
    monkeypatch.setenv("no_proxy", environment["no_proxy"])
    assert settings.child_environment()["no_proxy"] == environment["no_proxy"]  # not longer each time


def test_find_links_of_the_caller_are_kept(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    spaced = dataclasses.replace(settings, home=settings.home.with_name("a home"))
    monkeypatch.setenv("PIP_FIND_LINKS", "/some/wheels /more")
    monkeypatch.setenv("UV_FIND_LINKS", "/some/wheels,/more")
    url = f"file://{settings.home.parent}/a%20home/wheels"
    for _ in range(2):
        environment = spaced.child_environment()
        assert environment["PIP_FIND_LINKS"] == f"/some/wheels /more {url}"
        assert environment["UV_FIND_LINKS"] == f"/some/wheels,/more,{url}"
        monkeypatch.setenv("PIP_FIND_LINKS", environment["PIP_FIND_LINKS"])
        monkeypatch.setenv("UV_FIND_LINKS", environment["UV_FIND_LINKS"])


def test_project_environments_lie_where_mlflow_can_use_them(settings: Settings) -> None:
    assert settings.environments == settings.home / "environments"
    for name in ("a home", "it's", "a;b", "$x"):
        environments = dataclasses.replace(settings, home=settings.home.with_name(name)).environments
        assert environments.parent == Path.home() / ".mlflow"
        assert name not in environments.name


def test_password_hash_depends_on_password_and_salt() -> None:
    hashes = {password_hash(password, salt) for password in ("a", "b") for salt in (b"1", b"2")}
    assert len(hashes) == 4
    assert password_hash("a", b"1") in hashes


def test_who_may_see_the_dashboard() -> None:
    assert load({}).dashboard_host == "127.0.0.1" and not load({}).dashboard_user
    login = {"DSGO_DASHBOARD_USER": "ada", "DSGO_DASHBOARD_PASSWORD": "geheim"}
    settings = load({**login, "DSGO_DASHBOARD_HOST": "0.0.0.0"})
    assert (settings.dashboard_host, settings.dashboard_user) == ("0.0.0.0", "ada")
    assert "geheim" not in repr(settings)
    assert "geheim" not in str(settings.child_environment()), "whoever needs it reads it from the file"


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"DSGO_DASHBOARD_USER": "ada"}, "DSGO_DASHBOARD_PASSWORD"),
        ({"DSGO_DASHBOARD_PASSWORD": "geheim"}, "DSGO_DASHBOARD_USER"),
        ({"DSGO_DASHBOARD_HOST": "0.0.0.0"}, "DSGO_DASHBOARD_HOST"),
        (
            {"DSGO_DASHBOARD_HOST": "10.0.0.7", "DSGO_DASHBOARD_USER": "ada", "DSGO_DASHBOARD_PASSWORD": "x"},
            "DSGO_DASHBOARD_HOST",
        ),
        ({"DSGO_DASHBOARD_USER": "a:b", "DSGO_DASHBOARD_PASSWORD": "x"}, "DSGO_DASHBOARD_USER"),
    ],
)
def test_half_a_login_or_none_where_others_reach_it_is_refused_by_name(environ: dict, named: str) -> None:
    with pytest.raises(SettingError, match=named) as caught:
        load(environ)
    assert "geheim" not in str(caught.value)


def test_a_copy_on_one_machine_knows_no_other() -> None:
    settings = load({})
    assert (settings.servers, settings.listen, settings.executor, settings.elsewhere) == (
        "127.0.0.1",
        "127.0.0.1",
        "multiprocess",
        False,
    )
    assert settings.in_postgresql == ()


def test_servers_elsewhere_are_reached_by_their_name() -> None:
    there = load({"DSGO_SERVERS": "store.example", "DSGO_LISTEN": "0.0.0.0"})
    here = load({"DSGO_SERVERS": "store.example"})
    for settings in (here, there):
        assert settings.artifact_root == "ftp://store.example:2121/artifacts"
        assert settings.tracking_uri == "http://store.example:5000"
        assert "store.example" in settings.child_environment()["NO_PROXY"].split(",")
        assert settings.serve_url == "http://127.0.0.1:8003"
    assert here.elsewhere and not there.elsewhere
    assert load(here.child_environment()).elsewhere


@pytest.mark.parametrize(
    ("name", "environ"),
    [
        ("DSGO_EXECUTOR", {"DSGO_EXECUTOR": "celery"}),
        ("DSGO_DASK_SCHEDULER", {"DSGO_EXECUTOR": "dask"}),
        ("DSGO_DASK_SCHEDULER", {"DSGO_EXECUTOR": "dask", "DSGO_DASK_SCHEDULER": "127.0.0.1:8786"}),
        ("DSGO_SERVERS", {"DSGO_SERVERS": "store.example:2121"}),
        ("DSGO_SERVERS", {"DSGO_SERVERS": "ftp://store"}),
        ("DSGO_SERVERS", {"DSGO_LISTEN": "0.0.0.0"}),
        ("DSGO_LISTEN", {"DSGO_SERVERS": "store", "DSGO_LISTEN": "everywhere"}),
        ("DSGO_TRACKING_DATABASE_URL", {"DSGO_TRACKING_DATABASE_URL": "mysql://u:s3cret@h/d"}),
        ("DSGO_TRACKING_DATABASE_URL", {"DSGO_TRACKING_DATABASE_URL": "sqlite:///s3cret.db"}),
    ],
)
def test_a_wrong_place_is_refused_by_name(name: str, environ: dict[str, str]) -> None:
    with pytest.raises(SettingError, match=name) as refusal:
        load(environ)
    assert "s3cret" not in str(refusal.value)


def test_databases_in_postgresql_are_known_and_their_passwords_never_shown() -> None:
    url = "postgresql://u:s3cret@h/d"
    settings = load({"DSGO_DATABASE_URL": url, "DSGO_TRACKING_DATABASE_URL": url})
    assert settings.in_postgresql == ("DSGO_DATABASE_URL", "DSGO_TRACKING_DATABASE_URL")
    assert "s3cret" not in repr(settings) + str(settings.child_environment())
