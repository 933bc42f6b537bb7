"""What the forecaster costs beside what it is made of, all in one run, on the generated sample: medians of ratios.

    python bench/forecaster.py [--rounds 200] [--skip-slow] [--keras]

The training steps run as they are, one after another in this process, against a store in a temporary folder; their
models are then loaded, served and asked. The peer of the served and loaded models is a bare scikit-learn
LinearRegression (four raw columns → both targets) in the same store behind the same `mlflow models serve`; that of a batch
is the wrapped regressor's own `predict` on the finished matrix of features; that of a training step is the fit of the
same forecaster on all rows. Every ratio is our time / the peer's. Exit code 1 if an aim is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import io
import json
import os
import runpy
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from unittest import mock

CHECKOUT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
TRAINED_TO = "2015-06-30 23:00"  # two and a half years: the shortest that leaves a year before the folds is two
BATCH_ROWS = 100_000
BATCH_END = "2024-08-31 23:00"  # the sample has so many hours by then
YEARS = (0.5, 2.0, 8.0)  # from half a year on the level is fitted too
NEAR_LINEAR = 1.25  # time ratio / size ratio
LOADS, BATCHES, FITS = 15, 3, 3

os.environ.update(
    MLFLOW_DISABLE_TELEMETRY="true",
    DO_NOT_TRACK="true",
    MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT="true",
    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR="false",
    TF_CPP_MIN_LOG_LEVEL="3",
)

import mlflow  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from mlflow.tracking import MlflowClient  # noqa: E402
from servers import free_port, running  # noqa: E402
from sklearn.base import BaseEstimator  # noqa: E402
from sklearn.linear_model import LinearRegression  # noqa: E402

from dsgo.cleaning import clean  # noqa: E402
from dsgo.collection import columns_of, load  # noqa: E402
from dsgo.features import Features, group_of  # noqa: E402
from dsgo.forecaster import Forecaster  # noqa: E402
from dsgo.kernel_ridge import KernelRidge  # noqa: E402
from dsgo.registry import load_forecaster  # noqa: E402
from dsgo.space import defaults  # noqa: E402
from dsgo.tables import Dataset, make_dataset, write_dataset  # noqa: E402
from dsgo.training import Training  # noqa: E402

sys.path.append(str(CHECKOUT / "projects" / "wind_solar" / "process_data"))
from wind_solar_sample import sample  # noqa: E402

STEPS = ("linear_regression", "gradient_boosting", "random_forest", "kernel_ridge")
SERVED = ("linear_regression", "kernel_ridge", "gradient_boosting", "ensemble")


@dataclass
class Row:
    """One line of the table: seconds of the peer and ours in pairs, and the largest ratio that is good."""

    work: str
    peer: str
    aim: float
    pairs: list[tuple[float, float]] = field(default_factory=list)

    def time(self, theirs: Callable[[], object], ours: Callable[[], object], rounds: int) -> None:
        """In turn, after one round that is not counted."""
        theirs(), ours()
        self.pairs += [(seconds(theirs), seconds(ours)) for _ in range(rounds)]

    @property
    def ratio(self) -> float:
        return statistics.median(ours / peer for peer, ours in self.pairs)

    def __str__(self) -> str:
        peer, ours = (statistics.median(times) for times in zip(*self.pairs, strict=True))
        verdict = "reached" if self.ratio <= self.aim else "MISSED"
        ratio, aim = f"{self.ratio:.2f} ×", f"≤ {self.aim:g} ×"
        return f"{self.work:<50} {self.peer:<26} {peer:>9.4f} {ours:>9.4f} {ratio:>9} {aim:>8}  {verdict}"


def seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def generated(end: str) -> Dataset:
    """The sample from its start to `end`, checked and mended."""
    collection = load(CHECKOUT / "projects" / "wind_solar" / "collection.yaml")
    table, repairs = clean(sample(end=end), collection.dataset, file="sample")
    source = {"kind": "sample", "name": "generated sample", "sha256": "0" * 64}
    return make_dataset(table, collection, source=source, synthetic=True, repairs=repairs)


def as_sent(rows: pd.DataFrame, forecaster: Forecaster) -> pd.DataFrame:
    """Rows as a client sends them: times are text."""
    sent = rows[forecaster.inputs].copy()
    sent.insert(0, forecaster.info["timestamp"], sent.index.strftime("%Y-%m-%dT%H:%M:%SZ"))
    return sent.reset_index(drop=True)


def script(step: str) -> Path:
    return CHECKOUT / "projects" / "forecasting" / step / f"{step}.py"


@dataclass
class Trained:
    """What a training step left, and the seconds that it took: all of it, its back-test, and the fit on all rows."""

    step: str
    uri: str
    whole_s: float
    backtest_s: float
    fit_s: float


def train(step: str, folder: Path) -> Trained:
    """Run a training step on the dataset in `folder`."""
    spent = {"back-test": 0.0, "fit": 0.0}
    backtest, fit = Training.backtest, Training.fit

    def timed_backtest(training: Training, regressor: object) -> object:
        begin = time.perf_counter()
        result = backtest(training, regressor)
        spent["back-test"] += time.perf_counter() - begin  # kernel ridge has several
        return result

    def timed_fit(training: Training, regressor: object, table: pd.DataFrame) -> Forecaster:
        begin = time.perf_counter()
        result = fit(training, regressor, table)
        if len(table) == len(training.table):
            spent["fit"] = time.perf_counter() - begin
        return result

    with (
        mock.patch.object(Training, "backtest", timed_backtest),
        mock.patch.object(Training, "fit", timed_fit),
        mock.patch.object(sys, "argv", [str(script(step)), "--dataset", str(folder)]),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        whole_s = seconds(partial(runpy.run_path, str(script(step)), run_name="__main__"))
    run_id = mlflow.active_run().info.run_id
    mlflow.end_run()
    client = MlflowClient()
    models = [client.get_logged_model(output.model_id) for output in client.get_run(run_id).outputs.model_outputs]
    (model,) = [model for model in models if model.name == "model"]  # the other one is the twin
    return Trained(step, model.model_uri, whole_s, spent["back-test"], spent["fit"])


def bare(table: pd.DataFrame, info: dict) -> str:
    """URI of a linear regression of the raw inputs, logged as scikit-learn's users do."""
    inputs, targets = columns_of(info, "input"), columns_of(info, "target")
    model = LinearRegression().fit(table[inputs].to_numpy(), table[targets].to_numpy())
    with mlflow.start_run():
        return mlflow.sklearn.log_model(model, name="model").model_uri


def training_cost(trained: list[Trained]) -> list[Row]:
    """Of all regressors together. The twin that is scored on the window is a fit too, so a whole step has four."""
    kernel = [t for t in trained if t.step == "kernel_ridge"]
    others = [t for t in trained if t not in kernel]
    fits = sum(t.fit_s for t in trained)
    rows = [
        Row("train all: back-test and fit", "their single fits", 3),
        Row("train all: whole steps, logging and pictures too", "their single fits", 3),
    ]
    rows[0].pairs.append((fits, sum(t.backtest_s + t.fit_s for t in trained)))
    rows[1].pairs.append((fits, sum(t.whole_s for t in trained)))
    if kernel:
        row = Row("train all but kernel_ridge: back-test and fit", "their single fits", 3)
        row.pairs.append((sum(t.fit_s for t in others), sum(t.backtest_s + t.fit_s for t in others)))
        rows.insert(1, row)
    return rows


def loading(models: list[Trained], peer: str) -> list[Row]:
    rows = []
    for model in models:
        row = Row(f"load {model.step}", "bare LinearRegression", 1.5)
        row.time(partial(mlflow.pyfunc.load_model, peer), partial(mlflow.pyfunc.load_model, model.uri), LOADS)
        rows.append(row)
    return rows


def batches(models: list[Trained]) -> list[Row]:
    """Rate of a large batch; half the regressor's own rate is twice its time."""
    table = generated(BATCH_END).table.iloc[:BATCH_ROWS]
    rows = []
    for model in models:
        forecaster = load_forecaster(model.uri)
        sent = as_sent(table, forecaster)
        parts = getattr(forecaster, "components", [forecaster])
        matrices = [part.scaler.transform(part.features.transform(table)) for part in parts]

        def regressors(parts: list[Forecaster] = parts, matrices: list[np.ndarray] = matrices) -> None:
            for part, matrix in zip(parts, matrices, strict=True):
                part.regressor.predict(matrix)

        row = Row(f"predict {len(table):,} rows: {model.step}", "its regressor's predict", 2)
        row.time(regressors, partial(forecaster.predict, sent), BATCHES)
        rows.append(row)
    return rows


@contextlib.contextmanager
def served(uri: str, log: Path) -> Iterator[http.client.HTTPConnection]:
    """A connection to `mlflow models serve` of one model, which ends with the block."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", uri, "--env-manager", "local"]
    environ = {**os.environ, "MLFLOW_TRACKING_URI": mlflow.get_tracking_uri(), "PYTHONPATH": str(CHECKOUT)}
    environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}"  # there it looks for uvicorn
    with contextlib.closing(http.client.HTTPConnection(HOST, port, timeout=60)) as connection:

        def answers() -> None:
            connection.close()  # what is left of a failed attempt
            connection.request("GET", "/ping")
            connection.getresponse().read()

        with running([*command, "--host", HOST, "--port", str(port)], environ, log, answers):
            yield connection


def ask(connection: http.client.HTTPConnection, body: bytes) -> None:
    connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer = response.read()
    if response.status != 200 or len(json.loads(answer)["predictions"]) != 1:
        raise RuntimeError(f"{response.status}: {answer[:1000]!r}")


def one_row(models: list[Trained], peer: str, dataset: Dataset, base: Path, rounds: int) -> list[Row]:
    """Latency over REST, in turn; the median of the ratios of pairs is that of p50."""
    last = dataset.table.iloc[[-13]]
    rows = []
    with served(peer, base / "peer.log") as theirs:
        short = json.dumps({"dataframe_split": last[dataset.inputs].to_dict("split", index=False)}).encode()
        for model in models:
            row = Row(f"one row over REST, p50: {model.step}", "bare LinearRegression", 1.5)
            sent = as_sent(last, load_forecaster(model.uri)).to_dict("split", index=False)
            body = json.dumps({"dataframe_split": sent}).encode()
            with served(model.uri, base / f"{model.step}.log") as ours:
                theirs.close()  # it has been idle; the next request opens it again
                row.time(partial(ask, theirs, short), partial(ask, ours, body), rounds)
            rows.append(row)
    return rows


def regressors(info: dict) -> dict[str, BaseEstimator]:
    """The regressors of the steps with their defaults."""
    made = {}
    for step in STEPS:
        names = runpy.run_path(str(script(step)))
        if step == "kernel_ridge":
            groups = [group_of(name, info) for name in Features(info).get_feature_names_out()]
            made[step] = KernelRidge([names["OF_WEATHER"]["sky"], names["OF_WEATHER"]["air"]], groups)
        else:
            made[step] = names["regressor"](defaults(names["SPACE"]), 42)
    return made


def by_size(steps: tuple[str, ...]) -> bool:
    """Print fit and predict times of growing tables; whether time grew by at most a quarter more than the rows."""
    longest = generated("2020-12-31 23:00")
    hours = longest.table.index - longest.table.index[0]
    tables = [longest.table[hours < pd.Timedelta(days=365.25 * years)] for years in YEARS]
    sizes = ", ".join(f"{len(table):,} ({years:g} years)" for table, years in zip(tables, YEARS, strict=True))
    print(f"\ncost against size, rows {sizes}: seconds, then time ratio / size ratio of neighbours, of first and last")
    good = True
    for step, regressor in regressors(longest.info).items():
        if step not in steps:
            continue
        times: dict[str, list[float]] = {"fit": [], "predict": []}
        for table in tables:
            forecaster = Forecaster(longest.info, regressor)
            sent = as_sent(table, forecaster)
            for what, work in (("fit", partial(forecaster.fit, table)), ("predict", partial(forecaster.predict, sent))):
                if what == "predict":  # intervals from rows that it has seen cost as much as honest ones
                    known = forecaster.forecast(tables[0]).join(tables[0][forecaster.targets])
                    forecaster.calibrate(known, tables[0])
                rounds = FITS if table is not tables[-1] else 1  # the longest is the steadiest
                times[what].append(statistics.median(seconds(work) for _ in range(rounds)))
        for what, taken in times.items():
            per_row = [t / len(table) for t, table in zip(taken, tables, strict=True)]
            growth = [per_row[1] / per_row[0], per_row[2] / per_row[1], per_row[2] / per_row[0]]
            good &= growth[-1] <= NEAR_LINEAR
            shown = " ".join(f"{t:8.3f}" for t in taken) + "   " + " ".join(f"{g:5.2f}" for g in growth)
            verdict = "reached" if growth[-1] <= NEAR_LINEAR else "MISSED"
            print(f"{step + ', ' + what:<50} {shown}  ≤ {NEAR_LINEAR:g}  {verdict}", flush=True)
    return good


def show(rows: list[Row]) -> list[Row]:
    """Print rows as soon as they are measured."""
    for row in rows:
        print(row, flush=True)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200, help="requests to each server")
    parser.add_argument("--skip-slow", action="store_true", help="linear regression only, and no growing tables")
    parser.add_argument("--keras", action="store_true", help="train the neural network too")
    options = parser.parse_args()
    steps = STEPS[:1] if options.skip_slow else (*STEPS, *(("keras_mlp",) if options.keras else ()))
    print(f"{'work':<50} {'against':<26} {'peer s':>9} {'ours s':>9} {'ratio':>9} {'aim':>8}", flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-forecaster-") as name:
        base = Path(name)
        mlflow.set_tracking_uri(f"sqlite:///{base / 'mlflow.db'}")
        experiment = mlflow.create_experiment("bench", (base / "artifacts").as_uri())
        mlflow.set_experiment(experiment_id=experiment)
        dataset = generated(TRAINED_TO)
        folder = write_dataset(dataset, base / "dataset")
        print(f"trained on {len(dataset.table):,} hours", flush=True)
        peer = bare(dataset.table, dataset.info)
        trained = [train(step, folder) for step in steps]
        rows = show(training_cost(trained))
        if not options.skip_slow:
            trained.append(train("ensemble", folder))
        asked = [model for model in trained if model.step in SERVED]
        rows += show(loading(asked, peer))
        rows += show(batches(trained))
        rows += show(one_row(asked, peer, dataset, base, options.rounds))
        linear = options.skip_slow or by_size(steps)
    return 0 if linear and all(row.ratio <= row.aim for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
