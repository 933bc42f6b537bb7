"""The step process_data: run by MLflow on good and bad input, and its parts called directly."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from wind_solar_sample import sample

from dsgo import processing
from dsgo.collection import load
from dsgo.errors import DataError
from dsgo.sources import RawTable, to_csv
from dsgo.tables import read_dataset

CHECKOUT = Path(__file__).resolve().parents[2]
PROJECT = CHECKOUT / "projects" / "wind_solar" / "process_data"
COLLECTION = load(PROJECT.parent / "collection.yaml")
SOURCE = {"kind": "file", "name": "table.csv", "sha256": "0" * 64}


def environment(folder: Path) -> dict[str, str]:
    """The process's own, with this checkout's code and a tracking store in `folder`."""
    return os.environ | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(CHECKOUT),
        "DSGO_HOME": str(folder / "home"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }


def mlflow_run(folder: Path, data: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "mlflow", "run", str(PROJECT), "--env-manager", "local"]
    command += ["-P", f"data={data}", "--experiment-name", "trial"]
    return subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=300)


def step(folder: Path, data: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(PROJECT / "process_data.py"), "--data", data]
    return subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def process_data():
    """The step's own file, as a module."""
    spec = importlib.util.spec_from_file_location("process_data", PROJECT / "process_data.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where both runs of MLflow leave their tracking store and artifacts."""
    return tmp_path_factory.mktemp("process_data")


@pytest.fixture(scope="module")
def client(folder):
    """The tracking store; the process's tracking URI points to it meanwhile."""
    import mlflow

    before = os.environ.get("MLFLOW_TRACKING_URI")  # which setting it writes, and `None` removes
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    yield mlflow.MlflowClient()
    mlflow.set_tracking_uri(before)


@pytest.fixture(scope="module")
def on_sample(folder):
    return mlflow_run(folder, "sample")


def run_of(client, printed: str):
    """The MLflow run that the output of `mlflow run` names."""
    return client.get_run(re.search(r"Run \(ID '(\w+)'\)", printed)[1])


class TestOnTheSample:
    def test_it_succeeds_and_says_what_it_found(self, on_sample):
        assert on_sample.returncode == 0, on_sample.stderr
        assert "35,012 hours, 2013-01-01 00:00 to 2016-12-31 23:00 UTC" in on_sample.stdout
        assert "synthetic" in on_sample.stdout
        assert "4 hours given twice where clocks are put back, first 2013-10-27T01:00:00+00:00" in on_sample.stdout
        assert "52 absent hours, first 2013-03-30T23:00:00+00:00: left absent" in on_sample.stdout
        assert "Gaps: 2013-03-30 23:00 (23 h), 2014-03-12 19:00 (4 h)" in on_sample.stdout

    def test_the_run_has_tags_metrics_and_its_dataset_as_input(self, on_sample, client):
        run = run_of(client, on_sample.stderr)
        dataset = read_dataset(f"runs:/{run.info.run_id}/dataset")
        assert run.info.status == "FINISHED"
        tags = {key: value for key, value in run.data.tags.items() if key.startswith("dsgo.")}
        assert tags == {
            "dsgo.collection": "wind_solar",
            "dsgo.step": "process_data",
            "dsgo.synthetic": "true",
            "dsgo.data_digest": dataset.sha256,
            "dsgo.output_digest": dataset.digest,
        }
        counts = {"rows": 35012, "gaps_hours": 52, "duplicated_hours": 4, "faults": 3, "outlook_hours": 168}
        assert run.data.metrics == counts
        [used] = run.inputs.dataset_inputs
        assert (used.dataset.name, used.dataset.digest) == ("wind_solar", dataset.sha256[:36])

    def test_its_artifact_is_the_dataset(self, on_sample, client):
        run = run_of(client, on_sample.stderr)
        artifacts = sorted(file.path for file in client.list_artifacts(run.info.run_id, "dataset"))
        assert artifacts == ["dataset/dataset.yaml", "dataset/outlook.parquet", "dataset/table.parquet"]
        assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["dataset"]
        dataset = read_dataset(f"runs:/{run.info.run_id}/dataset")
        assert dataset.synthetic
        assert dataset.targets == COLLECTION.targets
        assert dataset.table.index.is_unique
        assert dataset.table.index.is_monotonic_increasing
        assert dataset.info["naive"] == COLLECTION.dataset["naive"]

    def test_a_run_that_is_not_there_is_one_clear_error(self, client):
        with pytest.raises(DataError, match=r"runs:/0123/dataset: cannot be downloaded"):
            read_dataset("runs:/0123/dataset")


class TestOnBadInput:
    def test_a_cut_file_ends_in_one_message_and_a_failed_empty_run(self, folder, client, tmp_path):
        path = tmp_path / "cut.csv"
        path.write_bytes(to_csv(sample(end="2013-02-28 23:00"))[:-40])
        done = mlflow_run(folder, str(path))
        assert done.returncode != 0
        assert f"Error: {path}, row 1416: line 1417: " in done.stderr
        assert "it was cut off" in done.stderr
        assert "Traceback" not in done.stderr
        run = run_of(client, done.stderr)
        assert run.info.status == "FAILED"
        assert client.list_artifacts(run.info.run_id) == []
        assert not [key for key in run.data.tags if key.startswith("dsgo.")]

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            ("no/such.csv", "Error: 'no/such.csv': there is no such file in "),
            ("http://127.0.0.1:9/table.csv?", "Error: http://127.0.0.1:9/table.csv?: the connection was refused"),
        ],
    )
    def test_without_a_table_nothing_is_logged(self, tmp_path, data, message):
        done = step(tmp_path, data)
        assert done.returncode == 1
        assert done.stderr.startswith(message)
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1
        assert not (tmp_path / "mlflow.db").exists()

    def test_the_faulty_row_of_a_file_is_named(self, process_data):
        rows = sample(end="2013-02-28 23:00")
        rows.loc[99, "wind_GW"] = -50
        with pytest.raises(DataError, match=r"table\.csv, column wind_GW, row 100: line 101: -50 GW is not within"):
            process_data.compute(RawTable(rows, SOURCE, synthetic=False, first_line=2), COLLECTION)


class TestParts:
    def test_a_faultless_table(self, process_data):
        raw = RawTable(sample(end="2013-02-28 23:00"), SOURCE, synthetic=False)
        dataset = process_data.compute(raw, COLLECTION)
        text = processing.summary(dataset)
        assert "1,416 hours, 2013-01-01 00:00 to 2013-02-28 23:00 UTC" in text
        assert "Source: file, table.csv\nNo fault was found." in text
        counts = {"rows": 1416, "gaps_hours": 0, "duplicated_hours": 0, "faults": 0, "outlook_hours": 0}
        assert processing.metrics(dataset) == counts

    def test_weather_ahead_is_the_outlook_and_the_table_is_as_without_it(self, process_data):
        rows = sample(end="2013-02-28 23:00")
        known = process_data.compute(RawTable(rows.iloc[:-24], SOURCE, synthetic=False), COLLECTION)
        rows.loc[len(rows) - 24 :, COLLECTION.targets] = None
        dataset = process_data.compute(RawTable(rows, SOURCE, synthetic=False), COLLECTION)
        assert dataset.sha256 == known.sha256 and len(dataset.outlook) == 24
        assert "1,392 hours, 2013-01-01 00:00 to 2013-02-27 23:00 UTC" in processing.summary(dataset)
        assert processing.summary(dataset).endswith("Outlook: 24 hours with weather only, to 2013-02-28 23:00 UTC")
        assert processing.metrics(dataset) == processing.metrics(known) | {"outlook_hours": 24}

    def test_the_repair_of_the_reader_is_kept_and_long_lists_of_gaps_are_cut(self, process_data):
        rows = sample(end="2013-02-28 23:00")
        rows = rows.drop(index=range(10, 200, 10))
        repair = {"fault": "last line without an end", "count": 1, "first": "line 1400", "handling": "dropped"}
        dataset = process_data.compute(RawTable(rows, SOURCE, synthetic=False, repairs=[repair]), COLLECTION)
        assert dataset.info["repairs"][0] == repair
        text = processing.summary(dataset)
        assert "19 absent hours" in text
        assert "2013-01-01 10:00 (1 h), 2013-01-01 20:00 (1 h)" in text
        assert text.endswith("and 11 more")

    def test_equal_input_gives_equal_digests(self, process_data):
        rows = sample(end="2013-02-28 23:00")
        one, other = (process_data.compute(RawTable(rows, SOURCE, synthetic=False), COLLECTION) for _ in range(2))
        assert one.digest == other.digest
        changed = process_data.compute(RawTable(rows.iloc[1:], SOURCE, synthetic=False), COLLECTION)
        assert changed.digest != one.digest

    def test_its_environment_pins_what_the_lock_pins(self):
        import yaml

        [pip] = [
            d["pip"]
            for d in yaml.safe_load((PROJECT / "conda.yaml").read_text())["dependencies"]
            if isinstance(d, dict)
        ]
        lock = (CHECKOUT / "requirements.txt").read_text().splitlines()
        locked = {line.split(" ;")[0].strip() for line in lock}
        assert {pin for pin in pip if not pin.startswith("dsgo==")} <= locked
        assert pd.__version__ == dict(pin.split("==") for pin in pip)["pandas"]
