"""The starting point runs from top to bottom and gives plausible results, on half a year of its table."""

from __future__ import annotations

import base64
import importlib.util
import json
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest

from dsgo.errors import SourceError, StepError

CHECKOUT = Path(__file__).resolve().parents[2]
STARTING_POINT = CHECKOUT / "1_starting_point"
NOTEBOOKS = ("make_processed_data.ipynb", "model_linreg.ipynb", "model_rf.ipynb", "model_keras.ipynb")
MODELS = {"model_linreg.ipynb": "linreg", "model_rf.ipynb": "rf", "model_keras.ipynb": "keras"}
ALL_NOTEBOOKS = [*NOTEBOOKS, "report/weekly_report.ipynb"]
TARGETS = ("solar_GW", "wind_GW")
SCORE_LINE = re.compile(r"^(\w+_GW): RMSE (\d+\.\d+) GW", re.MULTILINE)


def _load_bench():
    spec = importlib.util.spec_from_file_location("bench_starting_point", CHECKOUT / "bench" / "starting_point.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass looks its module up by name
    spec.loader.exec_module(module)
    return module


bench = _load_bench()


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    """October 2015 to March 2016: two years' files, the hour repeated in October and the one that March lacks."""
    header, *rows = (STARTING_POINT / "germany.csv").read_bytes().splitlines(keepends=True)
    short = tmp_path_factory.mktemp("table") / "germany.csv"
    short.write_bytes(header + b"".join(row for row in rows if b"2015-10" <= row[:7] <= b"2016-03"))
    return short


@pytest.fixture(scope="module")
def copy(table, tmp_path_factory) -> Path:
    """A copy of the starting point on the short table."""
    folder = tmp_path_factory.mktemp("starting") / "copy"
    bench.lay_out(table, folder)
    return folder


@pytest.fixture(scope="module")
def jupyter(tmp_path_factory) -> dict[str, str]:
    """The environment of Jupyter's processes: this interpreter as kernel, whatever kernels the machine knows."""
    return bench.jupyter_environment(tmp_path_factory.mktemp("jupyter"))


@pytest.fixture(scope="module")
def measured(table, tmp_path_factory):
    """The four notebooks executed one after another: their folder and what each cost."""
    folder = tmp_path_factory.mktemp("measured") / "copy"
    return folder, bench.measure(table, folder)


def _outputs(notebook: Path) -> list:
    return [output for cell in nbformat.read(notebook, as_version=4).cells for output in cell.get("outputs", [])]


def _printed(notebook: Path) -> str:
    return "".join(output.text for output in _outputs(notebook) if output.get("name") == "stdout")


def _assert_plausible(rmse: dict, table: Path) -> None:
    """The errors, in GW, are far below the spread of the targets, yet no model seems to have seen the answer."""
    spread = pd.read_csv(table)[list(TARGETS)].std()
    assert set(rmse) == set(TARGETS)
    for target in TARGETS:
        assert 0.1 * spread[target] < float(rmse[target]) < 0.6 * spread[target], target


@pytest.mark.parametrize("name", ALL_NOTEBOOKS)
def test_notebook_is_committed_without_outputs(name):
    notebook = nbformat.read(STARTING_POINT / name, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) >= (4, 5)
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


def test_raw_exports_belong_to_the_table(tmp_path):
    bench.write_raw(STARTING_POINT / "germany.csv", tmp_path)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    committed = {path.name: path.read_bytes() for path in (STARTING_POINT / "raw").iterdir()}
    assert len(written) >= 5  # four years of power, and the weather
    assert written.keys() == committed.keys()
    assert [name for name in written if written[name] != committed[name]] == []


def test_folder_stays_small():
    files = [path for path in STARTING_POINT.rglob("*") if path.is_file() and "executed" not in path.parts]
    assert sum(path.stat().st_size for path in files) < 6_000_000


def test_notebooks_run_from_top_to_bottom(measured):
    folder, costs = measured
    assert tuple(costs) == NOTEBOOKS
    for name in NOTEBOOKS:
        notebook = nbformat.read(folder / "executed" / name, as_version=4)
        counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
        assert counts == list(range(1, len(counts) + 1)), name
        assert any("image/png" in output.get("data", {}) for output in _outputs(folder / "executed" / name)), name


def test_processed_data_is_the_table_again(measured, table):
    folder, _ = measured
    rows = table.read_bytes().splitlines()
    assert len({row[:19] for row in rows}) == len(rows) - 1, "the short table should repeat one hour"
    assert (folder / "germany.csv").read_bytes() == table.read_bytes()


@pytest.mark.parametrize("name", MODELS)
def test_model_explains_much_and_not_all(measured, table, name):
    folder, _ = measured
    printed = {target: float(rmse) for target, rmse in SCORE_LINE.findall(_printed(folder / "executed" / name))}
    _assert_plausible(printed, table)
    kept = pd.read_csv(folder / "results.csv").query("model == @MODELS[@name]").set_index("target")["rmse"]
    assert kept.round(3).to_dict() == printed


def test_cost_is_that_of_the_whole_process_tree(measured):
    _, costs = measured
    # nbconvert alone needs less than 150 MB; the kernel with pandas, or with TensorFlow on top, is its child.
    assert costs["model_linreg.ipynb"].peak_MB > 200
    assert costs["model_keras.ipynb"].peak_MB > costs["model_linreg.ipynb"].peak_MB + 200
    assert all(cost.wall_s > 1 for cost in costs.values())
    whole = bench.total(costs)
    assert whole.wall_s == pytest.approx(sum(cost.wall_s for cost in costs.values()))
    assert whole.peak_MB == costs["model_keras.ipynb"].peak_MB


def test_failing_cell_is_reported_from_this_interpreter(jupyter, tmp_path):
    cell = nbformat.v4.new_code_cell("import sys\nraise ValueError('run by ' + sys.executable)")
    kernel = {"name": "python3", "display_name": "", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": kernel}), tmp_path / "broken.ipynb")
    with pytest.raises(
        StepError, match=rf"(?s)broken\.ipynb.*ValueError: run by {re.escape(sys.executable)}"
    ) as caught:
        bench.execute(tmp_path / "broken.ipynb", jupyter)
    assert caught.value.step == "broken.ipynb"
    assert list((tmp_path / "executed").iterdir()) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"wind_GW", b"wind_MW", "has the columns"),
        (b"\n", b"\n2016-01-01 00:00:00+00:00,1,2,3,4,5,6\n", "two different values of power for 2016-01-01T00"),
        (b"utc_timestamp", b"\xff\xfe\x00", "cannot be read as a table"),
    ],
    ids=["column", "repeated hour", "binary"],
)
def test_table_that_cannot_be_made_raw_is_refused(table, tmp_path, old, new, message):
    wrong = tmp_path / "wrong.csv"
    wrong.write_bytes(table.read_bytes().replace(old, new, 1))
    with pytest.raises(SourceError, match=rf"wrong\.csv.*{message}"):
        bench.write_raw(wrong, tmp_path / "raw")
    assert not (tmp_path / "raw").exists()


def test_report_is_rendered(copy, jupyter, table):
    subprocess.run([sys.executable, "make_report.py"], cwd=copy / "report", env=jupyter, check=True, timeout=300)
    page = (copy / "report" / "weekly_report.html").read_text(encoding="utf-8")
    figures = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert len(figures) == 2
    assert all(base64.b64decode(figure).startswith(b"\x89PNG") and len(figure) > 10_000 for figure in figures)
    assert "Week from 25 March 2016 to 31 March 2016 (UTC)" in page
    _assert_plausible(dict(re.findall(r"(\w+_GW): RMSE (\d+\.\d+) GW", page)), table)
    assert "RandomForestRegressor" not in page  # the client sees no code


def _fetch(url: str, body: dict | None = None) -> str:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as reply:
        return reply.read().decode()


@pytest.fixture(scope="module")
def dashboard(copy, tmp_path_factory):
    """Address of the running dashboard."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("dashboard") / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "app.py", str(port)], cwd=copy / "dashboard", stdout=output, stderr=subprocess.STDOUT
        )
        try:
            deadline = time.monotonic() + 300
            while True:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                try:
                    _fetch(f"http://127.0.0.1:{port}/")
                    break
                except (urllib.error.URLError, ConnectionError):
                    time.sleep(0.2)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(120)


def _numbers(values) -> np.ndarray:
    if isinstance(values, dict):  # plotly sends numpy arrays as base64
        return np.frombuffer(base64.b64decode(values["bdata"]), dtype=values["dtype"])
    return np.array(values)


def test_dashboard_answers(dashboard):
    assert "<title>Wind and solar</title>" in _fetch(dashboard)
    layout = _fetch(f"{dashboard}/_dash-layout")
    assert "German wind and solar power" in layout
    for target in TARGETS:
        answer = _fetch(
            f"{dashboard}/_dash-update-component",
            {
                "output": "..graph.figure...score.children..",
                "outputs": [{"id": "graph", "property": "figure"}, {"id": "score", "property": "children"}],
                "inputs": [
                    {"id": "target", "property": "value", "value": target},
                    {"id": "week", "property": "value", "value": "2016-W10"},
                ],
                "changedPropIds": ["target.value"],
            },
        )
        shown = json.loads(answer)["response"]
        actual, predicted = (_numbers(trace["y"]) for trace in shown["graph"]["figure"]["data"])
        assert len(actual) == len(predicted) == 7 * 24
        assert np.corrcoef(actual, predicted)[0, 1] > 0.8
        assert re.fullmatch(r"Model: random forest, RMSE \d\.\d\d GW, R2 0\.\d\d", shown["score"]["children"])
