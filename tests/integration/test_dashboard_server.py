import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests
from playwright.sync_api import expect

ROOT = Path(__file__).resolve().parents[2]
APP = ROOT / "dashboard" / "app.py"


def environment(home, port):
    return {**os.environ, "PYTHONPATH": str(ROOT), "DSGO_HOME": str(home), "DSGO_DASHBOARD_PORT": str(port)}


@pytest.fixture
def port(free_ports):
    return free_ports(1)[0]


def test_the_script_runs_alone_answers_and_stops_when_told(tmp_path, port):
    address = f"http://127.0.0.1:{port}"
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, str(APP)], env=environment(tmp_path, port), stderr=log, stdout=log
        ) as process,
    ):
        try:
            deadline = time.monotonic() + 300
            while True:
                assert process.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < deadline, "the port did not open"
                try:
                    answer = requests.get(address, timeout=60)
                    break
                except requests.ConnectionError:
                    time.sleep(0.1)
            assert answer.status_code == 200 and "<title>DSGo</title>" in answer.text
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'self'" in policy and "'sha256-" in policy and "unsafe-eval" not in policy
            scripts = next(part for part in policy.split("; ") if part.startswith("script-src"))
            assert "unsafe" not in scripts and "*" not in policy and "http" not in policy
            for name, value in {
                "X-Content-Type-Options": "nosniff",
                "X-Frame-Options": "DENY",
                "Referrer-Policy": "no-referrer",
                "Cross-Origin-Resource-Policy": "same-origin",
            }.items():
                assert answer.headers[name] == value
            assert requests.get(f"{address}/ping", timeout=60).text == "ok"
            assert requests.get(f"{address}/explore.csv", timeout=60).status_code == 404, "nothing to download yet"
            assert "http://" not in answer.text and "https://" not in answer.text
            style = requests.get(f"{address}/assets/dashboard.css", timeout=60)
            assert style.status_code == 200 and "data-mantine-color-scheme" in style.text
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)
    assert b"Traceback" not in (tmp_path / "log").read_bytes()


def test_everything_of_a_real_system_is_shown(dsgo, first, servers, browser):
    """The pipeline's own registry, runs and artifacts, in the dashboard that it has started."""
    with contextlib.closing(browser.new_context()) as context:
        page = context.new_page()
        faults = []
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.set_default_timeout(60_000)
        for path, words in {
            "/": ("Recorded data", "Scores of these days", "Learned from"),
            "/explore": ("Each point", "Recorded data", "80 % interval"),
            "/models": ("by season", "What wind_GW is forecast from", "Production"),
            "/health": ("Steps of training of", "process_data", "time stamps"),
        }.items():
            page.goto(f"{servers.dashboard_url}{path}?collection=wind_solar&from=2015-06-01&to=2015-06-08")
            for word in words:
                expect(page.locator("#body")).to_contain_text(word, timeout=60_000)
        assert faults == []


def test_without_its_password_it_does_not_start_where_others_can_reach_it(tmp_path, port):
    for extra, words in (
        ({"DSGO_DASHBOARD_HOST": "0.0.0.0"}, "DSGO_DASHBOARD_USER and DSGO_DASHBOARD_PASSWORD set"),
        ({"DSGO_DASHBOARD_USER": "ada"}, "DSGO_DASHBOARD_PASSWORD"),
    ):
        done = subprocess.run(
            [sys.executable, str(APP)],
            env={**environment(tmp_path, port), **extra},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr


def test_a_taken_port_is_a_clear_error(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, str(APP)], env=environment(tmp_path, port), capture_output=True, text=True, timeout=300
        )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"Error: dashboard: port {port} is taken. Set DSGO_DASHBOARD_PORT" in done.stderr


def test_making_the_application_imports_no_mlflow_and_asks_nobody(tmp_path, port):
    code = (
        "import sys, app; from dsgo import settings; from standins import Registry;"
        "registry = Registry(); app.create_app(settings.load(), registry);"
        "assert registry.loads == 0 and 'mlflow' not in sys.modules and 'dsgo.registry' not in sys.modules"
    )
    path = os.pathsep.join(str(folder) for folder in (ROOT, ROOT / "dashboard", ROOT / "tests"))
    subprocess.run(
        [sys.executable, "-c", code], env={**environment(tmp_path, port), "PYTHONPATH": path}, check=True, timeout=300
    )
