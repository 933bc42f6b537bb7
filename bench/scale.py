"""What one step, one run and one question cost, and how that grows: the figures of docs/scale.md.

    python bench/scale.py [search] [clients] [step] [predictions]

Everything runs in a temporary folder, with the tracking server's database in SQLite and, if DSGO_TRACKING_DATABASE_URL
names an empty database that may be filled, in PostgreSQL too.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from servers import free_port, running

os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true", MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR="false")
CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))
SIZES = (1_000, 10_000)  # runs, each with a version
RUNS_A_COLLECTION = 100
RUNS_A_DATASET = 10
ALL_IN_ONE = 10_000  # runs of one more collection
METRICS = [
    f"{part}.{target}.{name}" for part in ("window", "backtest") for target in "ab" for name in ("rmse", "skill")
]
CLIENTS = (1, 8, 32)
ASKED_S = 10.0
WEEK = 168  # hours that are forecast at once
MODEL = """
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

class Answer(PythonModel):
    def predict(self, context, model_input, params=None):
        return 0

set_model(Answer())
"""
STEP = (
    "import mlflow\nwith mlflow.start_run():\n    mlflow.log_text('x', 'x/first.txt')\n    mlflow.log_metric('m', 1)\n"
)
PROJECT = 'name: step\nentry_points:\n  main:\n    command: "python step.py"\n'


def median_ms(work: Callable[[], object], times: int = 5) -> float:
    """Median of some calls after one that warms up."""
    work()
    took = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        took.append(1000 * (time.perf_counter() - began))
    return statistics.median(took)


def stores(folder: Path) -> dict[str, str]:
    """Databases to measure, by name."""
    from sqlalchemy import make_url

    found = {"SQLite": f"sqlite:///{folder / 'mlflow.db'}"}
    if named := os.environ.get("DSGO_TRACKING_DATABASE_URL"):
        url = make_url(named).set(drivername="postgresql+psycopg2")
        found["PostgreSQL"] = url.render_as_string(hide_password=False)
    return found


def search(folder: Path) -> None:
    """Questions that the product asks, in a registry of many collections, asked of the store itself, without HTTP."""
    import sqlalchemy as sa
    from mlflow.entities import ViewType
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as Registry
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as Tracking

    for name, url in stores(folder).items():
        tracking, registry = Tracking(url, "ftp://127.0.0.1:2121/artifacts"), Registry(url)
        if name == "SQLite":
            with tracking.engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        done = 0
        for size, each in [*((size, RUNS_A_COLLECTION) for size in SIZES), (SIZES[-1] + ALL_IN_ONE, ALL_IN_ONE)]:
            fill(tracking, range(done, size), each)
            asked_for = f"c{each}.{done // each}"
            newest = (done + each - 1) // RUNS_A_DATASET
            done = size
            with tracking.engine.connect() as connection:
                connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("ANALYZE")
                used = sa.text(
                    "SELECT pg_database_size(current_database())"
                    if name == "PostgreSQL"
                    else "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
                )
                bytes_a_run = connection.execute(used).scalar() / size
            experiment = tracking.get_experiment_by_name(asked_for).experiment_id
            asked = (
                f"tags.`dsgo.collection` = '{asked_for}' and tags.`dsgo.data_digest` = 'd{newest}' "
                "and attributes.status = 'FINISHED'"
            )
            questions = {
                "leaderboard: candidates of one dataset": lambda e=experiment, a=asked, t=tracking: t.search_runs(
                    [e], a, ViewType.ACTIVE_ONLY, 1000, ["attributes.start_time DESC"]
                ),
                "reuse: newest run of a key": lambda e=experiment, t=tracking: t.search_runs(
                    [e],
                    "tags.`dsgo.step_key` = 'k7' and attributes.status = 'FINISHED'",
                    ViewType.ACTIVE_ONLY,
                    5,
                    ["attributes.start_time DESC"],
                ),
                "all versions of one model": lambda r=registry, n=asked_for: r.search_model_versions(
                    f"name = '{n}'", 10_000
                ),
                "what is in Production": lambda r=registry, n=asked_for: r.get_model_version_by_alias(n, "champion"),
                "all models, a page of 100": lambda r=registry: r.search_registered_models(max_results=100),
                "a new run": lambda e=experiment, t=tracking: t.create_run(
                    e, "bench", int(time.time() * 1000), [], "r"
                ),
            }
            print(f"{name}, {size:,} runs, {each:,} of the collection asked for, {bytes_a_run:,.0f} bytes a run")
            for question, ask in questions.items():
                print(f"    {question:<42} {median_ms(ask):8.1f} ms", flush=True)
        tracking.engine.dispose()


def fill(store, numbers: range, each: int) -> None:
    """Runs as training steps leave them, with 8 metrics, 12 tags and a version each; many at a time."""
    from mlflow.store.model_registry.dbmodels import models as of_registry
    from mlflow.store.tracking.dbmodels import models as of_tracking

    names = [f"c{each}.{number // each}" for number in numbers]
    ids = {name: store.create_experiment(name) for name in dict.fromkeys(names)}
    space = {"workspace": "default"}
    runs, metrics, latest, tagged, versions = [], [], [], [], []
    for number, name in zip(numbers, names, strict=True):
        run_id, now = f"{number:032x}", 1_700_000_000_000 + number * 1000
        runs.append(
            {"run_uuid": run_id, "name": "r", "experiment_id": int(ids[name]), "status": "FINISHED", "user_id": "bench"}
            | {"lifecycle_stage": "active", "start_time": now, "end_time": now, "artifact_uri": f"ftp://h/{run_id}"}
            | {"source_type": "LOCAL", "source_name": "", "entry_point_name": "", "source_version": ""}
        )
        for key in METRICS:
            value = {"run_uuid": run_id, "key": key, "value": 1.0, "timestamp": now, "step": 0, "is_nan": False}
            metrics.append(value)
            latest.append(value)
        values = {"dsgo.collection": name, "dsgo.data_digest": f"d{number // RUNS_A_DATASET}"}
        values |= {"dsgo.step_key": f"k{number % each}", "dsgo.step": "linear_regression"}
        values |= {f"tag{extra}": "x" * 40 for extra in range(8)}
        tagged += [{"run_uuid": run_id, "key": key, "value": value} for key, value in values.items()]
        versions.append(
            {**space, "name": name, "version": number % each + 1, "creation_time": now, "run_id": run_id}
            | {"last_updated_time": now, "current_stage": "None", "source": f"models:/m-{run_id}", "status": "READY"}
        )
    models = [{**space, "name": name, "creation_time": 1, "last_updated_time": 1} for name in ids]
    champions = [{**space, "name": name, "alias": "champion", "version": each} for name in ids]
    with store.engine.begin() as connection:
        for table, rows in (
            (of_tracking.SqlRun, runs),
            (of_tracking.SqlMetric, metrics),
            (of_tracking.SqlLatestMetric, latest),
            (of_tracking.SqlTag, tagged),
            (of_registry.SqlRegisteredModel, models),
            (of_registry.SqlModelVersion, versions),
            (of_registry.SqlRegisteredModelAlias, champions),
        ):
            connection.execute(table.__table__.insert(), rows)


@contextmanager
def copy_of_dsgo(folder: Path, names: tuple[str, ...], environ: Mapping[str, str]) -> Iterator[None]:
    """Store and tracking server on free ports, and the environment to use them."""
    from dsgo import probes, settings

    ports = {"DSGO_FTP_PORT": free_port() // 2 + 1024, "DSGO_TRACKING_PORT": free_port()}
    before = dict(os.environ)
    os.environ.update({"DSGO_HOME": str(folder), **{name: str(port) for name, port in ports.items()}, **environ})
    current = settings.prepare(settings.load())
    scripts = {"ftp": ("ftpserver.py", probes.ftp_greets), "tracking": ("tracking.py", probes.http_answers("/health"))}

    def answers(name: str) -> None:
        if not scripts[name][1](getattr(current, f"{name}_port")):
            raise ConnectionRefusedError

    try:
        from contextlib import ExitStack

        with ExitStack() as stack:
            for name in names:
                command = [sys.executable, str(CHECKOUT / "server" / scripts[name][0])]
                here = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
                stack.enter_context(running(command, here, folder / f"{name}.log", lambda name=name: answers(name)))
            settings.activate(dataclasses.replace(current))
            yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def clients(folder: Path) -> None:
    """Many that log to one tracking server at the same time, each a batch of 10 metrics into a run of its own."""
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

    named = os.environ.pop("DSGO_TRACKING_DATABASE_URL", "")
    for name in ("SQLite", "PostgreSQL") if named else ("SQLite",):
        own = folder / name
        own.mkdir()
        there = {"DSGO_TRACKING_DATABASE_URL": named} if name == "PostgreSQL" else {}
        with copy_of_dsgo(own, ("tracking",), there):
            client = MlflowClient()
            experiment = client.create_experiment(f"clients {time.time()}")
            for count in CLIENTS:
                run_ids = [client.create_run(experiment).info.run_id for _ in range(count)]
                took: list[float] = []
                end = time.monotonic() + ASKED_S

                def log(run_id: str, client: MlflowClient = client, took: list[float] = took, end: float = end) -> None:
                    step = 0
                    while time.monotonic() < end:
                        began = time.perf_counter()
                        values = [Metric(f"m{number}", 1.0, 0, step) for number in range(10)]
                        client.log_batch(run_id, metrics=values)
                        took.append(1000 * (time.perf_counter() - began))
                        step += 1

                threads = [threading.Thread(target=log, args=(run_id,)) for run_id in run_ids]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                took.sort()
                slow = took[int(0.99 * len(took))]
                print(
                    f"{name}, {count:>2} clients: {len(took) / ASKED_S:6.0f} batches/s, median "
                    f"{statistics.median(took):6.1f} ms, 99 % {slow:7.1f} ms",
                    flush=True,
                )
    if named:
        os.environ["DSGO_TRACKING_DATABASE_URL"] = named


def step(folder: Path) -> None:
    """One step as a project and in process; one model logged to the store; what they leave on the disk."""
    named = os.environ.pop("DSGO_TRACKING_DATABASE_URL", "")
    with copy_of_dsgo(folder, ("ftp", "tracking"), {}):
        import mlflow

        project = folder / "project"
        project.mkdir()
        (project / "MLproject").write_text(PROJECT)
        (project / "step.py").write_text(STEP)
        (folder / "model.py").write_text(MODEL)
        mlflow.set_experiment("step")

        def as_project() -> None:
            mlflow.projects.run(str(project), env_manager="local", experiment_name="step")

        def in_process() -> None:
            with mlflow.start_run():
                mlflow.log_text("x", "x/first.txt")
                mlflow.log_metric("m", 1)

        def with_model() -> None:
            with mlflow.start_run():
                mlflow.pyfunc.log_model(name="m", python_model=str(folder / "model.py"), pip_requirements=["mlflow"])

        for name, work in {
            "mlflow run, local": as_project,
            "in process": in_process,
            "with a model": with_model,
        }.items():
            before = used(folder)
            took = median_ms(work, 3)
            print(f"{name:<20} {took:8.0f} ms, {(used(folder) - before) / 4:10,.0f} bytes on the disk", flush=True)
    if named:
        os.environ["DSGO_TRACKING_DATABASE_URL"] = named


def used(folder: Path) -> int:
    """Bytes that the disk gives to what lies in `folder`."""
    return 1024 * int(
        subprocess.run(["du", "-sk", folder], capture_output=True, text=True, check=True).stdout.split()[0]
    )


def predictions(folder: Path) -> None:
    """A week of forecasts of one target, written, written again unchanged, and read: rows/s with 1 and 100 weeks there."""
    import pandas as pd

    from dsgo import predictions as table

    os.environ["DSGO_HOME"] = str(folder)
    for name in ("SQLite", "PostgreSQL"):
        os.environ.pop("DSGO_DATABASE_URL", None)
        if name == "PostgreSQL":
            if not os.environ.get("DSGO_TRACKING_DATABASE_URL"):
                continue
            os.environ["DSGO_DATABASE_URL"] = os.environ["DSGO_TRACKING_DATABASE_URL"]
        for week in range(101):
            times = pd.date_range("2016-01-01", periods=WEEK, freq="h", tz="UTC") + pd.Timedelta(weeks=week)
            rows = pd.DataFrame({"target": "wind_GW", "utc_timestamp": times, "forecast": 1.0, "p10": 0.5, "p90": 2.0})
            rows = rows.assign(source="production", version=1, data_digest="d" * 64, synthetic=True)
            took = {}
            for what in ("written", "unchanged"):
                began = time.perf_counter()
                table.record("bench", rows, "r" * 32)
                took[what] = time.perf_counter() - began
            began = time.perf_counter()
            table.newest("bench", times[0].to_pydatetime(), times[-1].to_pydatetime())
            took["read"] = time.perf_counter() - began
            if week in (1, 100):
                rates = ", ".join(f"{what} {WEEK / seconds:8,.0f} rows/s" for what, seconds in took.items())
                print(f"{name}, {week:>3} weeks there: {rates}", flush=True)


def main() -> None:
    """Run the parts that are named, or all."""
    parts = {"search": search, "clients": clients, "step": step, "predictions": predictions}
    for name in sys.argv[1:] or parts:
        print(f"--- {name}", flush=True)
        with tempfile.TemporaryDirectory(prefix="dsgo-bench-") as folder:
            parts[name](Path(folder))


if __name__ == "__main__":
    main()
