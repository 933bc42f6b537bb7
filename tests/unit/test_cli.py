"""The command line: what it refuses, what it prints, what it returns."""

from __future__ import annotations

import csv
import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from dsgo import cli, predictions, services
from dsgo.errors import SourceError
from dsgo.settings import CHECKOUT, load


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "dsgo", *arguments],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_status_of_a_copy_that_never_ran(tmp_path: Path) -> None:
    done = run("status", DSGO_HOME=str(tmp_path / "none"))
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["state", "down", "down", "down", "down"]
    assert (done.returncode, done.stderr) == (1, "")
    assert not (tmp_path / "none").exists()


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    code = "import dsgo.cli, sys; print({'mlflow', 'pandas', 'sklearn', 'tensorflow'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(CHECKOUT)}, capture_output=True, text=True
    )
    assert done.stdout.strip() == "set()", done.stderr


def test_user_error_is_one_line_and_no_traceback() -> None:
    done = run("status", DSGO_FTP_PORT="ftp")
    assert done.stderr == (
        "error: The setting DSGO_FTP_PORT='ftp' cannot be used: it must be a port number from 1024 to 65535.\n"
    )
    assert (done.returncode, done.stdout) == (1, "")


@pytest.mark.parametrize("arguments", [[], ["fly"], ["status", "--fast"], ["restart", "ftpd"], ["up", "--now"]])
def test_wrong_usage_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_up_of_an_unknown_service_starts_nothing(capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["up", "ftpd"]) == 1
    assert (
        capsys.readouterr().err
        == "error: ftpd: no such service. There are ftp, tracking, serve, dashboard, orchestrator.\n"
    )
    assert not load().home.exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--data", "no such.csv"], "no such.csv: there is no such file"),
        (["--data", "."], ".: is a folder"),
        (["--collection", "sun"], "COLLECTION='sun'"),
    ],
)
def test_run_refuses_before_servers_start(
    arguments: list[str],
    named: str,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["run", *arguments]) == 1
    assert named in capsys.readouterr().err
    assert not load().home.exists()


def test_tune_refuses_an_unknown_collection_before_servers_start(capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["tune", "--collection", "sun"]) == 1
    assert "COLLECTION='sun'" in capsys.readouterr().err
    assert not load().home.exists()


def test_data_is_resolved_against_the_callers_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my data.csv").touch()
    assert cli.resolved_source("my data.csv") == str(tmp_path / "my data.csv")
    for named in ("sample", "archive", "https://example.org/table.csv"):
        assert cli.resolved_source(named) == named
    Path("archive").touch()
    assert cli.resolved_source("archive") == "archive"  # a name, whatever lies here
    assert cli.resolved_source("./archive") == str(tmp_path / "archive")
    with pytest.raises(SourceError):
        cli.resolved_source("absent.csv")


def test_env_prints_exports_that_a_shell_understands(tmp_path: Path) -> None:
    home = tmp_path / "home of 'us' $HOME"
    done = run("env", DSGO_HOME=str(home))
    assert done.returncode == 0, done.stderr
    assert all(line.startswith("export ") for line in done.stdout.splitlines())
    password = load({"DSGO_HOME": str(home)}).ftp_password
    assert password
    assert password not in done.stdout
    shell = subprocess.run(
        ["sh", "-c", f'{done.stdout}\nprintf "%s\\n" "$DSGO_HOME" "$MLFLOW_TRACKING_URI"; command -v python'],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin"},
        check=True,
    )
    assert shell.stdout.splitlines() == [
        str(home),
        "http://127.0.0.1:5000",
        str(Path(sys.executable).parent / "python"),
    ]


def test_interrupt_is_exit_code_130(capsys: pytest.CaptureFixture) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    assert cli.reported(interrupted) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_programming_errors_are_not_hidden() -> None:
    def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cli.reported(broken)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0, "0s"), (59.9, "59s"), (187, "3m 07s"), (18_720, "5h 12m"), (183_600, "2d 03h")],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert cli.duration(seconds) == text


def test_report_passes_its_arguments_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "create_report.py").write_text(
        "import sys, os; open(sys.argv[2], 'w').write(os.environ['DSGO_TRACKING_PORT']); sys.exit(3)"
    )
    monkeypatch.setattr(services, "up", lambda settings: settings)
    monkeypatch.setattr(cli, "load", lambda: dataclasses.replace(load(), checkout=tmp_path, tracking_port=4321))
    out = tmp_path / "out file"
    assert cli.main(["report", "--to", str(out)]) == 3
    assert out.read_text() == "4321"


@pytest.mark.parametrize("command", ["up serve", "up dashboard", "restart serve", "restart dashboard", "dashboard"])
def test_production_is_put_right_before_a_server_looks_at_it(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`serve` cannot even start when somebody has taken the stage away."""
    done: list[str] = []

    def up(settings, names=("ftp", "tracking"), say=None) -> None:
        done.extend(names)

    monkeypatch.setattr(services, "up", up)
    monkeypatch.setattr(services, "restart", lambda settings, name, say: done.append(name))
    monkeypatch.setattr(cli, "_agree", lambda _: done.append("agree"))
    monkeypatch.setattr(cli.wheel, "build", lambda _: None)
    assert cli.main(command.split()) == 0
    assert done == ["ftp", "tracking", "agree", command.split()[-1]]


def test_up_of_the_tracking_server_puts_production_right_too(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(services, "up", lambda settings, names, say: done.extend(names))
    monkeypatch.setattr(cli, "_agree", lambda _: done.append("agree"))
    monkeypatch.setattr(cli.wheel, "build", lambda _: None)
    assert cli.main(["up"]) == 0
    assert done == ["ftp", "tracking", "agree"]


def test_the_ledger_of_an_unknown_collection_is_no_empty_ledger(capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["ledger", "--collection", "sun"]) == 1
    assert "COLLECTION='sun'" in capsys.readouterr().err
    assert cli.main(["ledger", "--collection", "wind_solar"]) == 0
    assert capsys.readouterr().out == "The ledger has no row yet.\n"


def test_predictions_are_a_table_for_other_programs(capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["predictions", "--collection", "sun"]) == 1
    assert "COLLECTION='sun'" in capsys.readouterr().err
    hour, columns = pd.Timestamp("2016-07-01", tz="UTC"), ("forecast", "p10", "p90")
    made = {
        "target": "wind_GW",
        "utc_timestamp": hour,
        "source": "naive",
        "version": None,
        "data_digest": "d",
        "synthetic": False,
    }
    load().home.mkdir()
    predictions.record("wind_solar", pd.DataFrame([made | dict.fromkeys(columns, 7.5)]), "run")
    assert cli.main(["predictions"]) == 0
    (row,) = csv.DictReader(capsys.readouterr().out.splitlines())
    assert (row["utc_timestamp"], row["forecast"], row["source"], row["version"]) == (str(hour), "7.5", "naive", "")
