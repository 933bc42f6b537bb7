"""Stand-ins for `dsgo.registry`, with the attributes of its contract, for what only shows what the registry has."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from dsgo.errors import NoProductionModel
from dsgo.notices import Watched
from dsgo.services import Status
from dsgo.tables import Dataset

INFO = {
    "collection": "wind_solar",
    "title": "German wind and solar power",
    "timestamp": "utc_timestamp",
    "timezone": "Europe/Berlin",
    "frequency": "1h",
    "location": {"latitude": 51.1, "longitude": 10.4},
    "naive": {"name": "persistence_24h", "lag": "24h"},
    "columns": {
        "solar_GW": {"role": "target", "unit": "GW", "description": "solar power, national mean of the hour"},
        "wind_GW": {"role": "target", "unit": "GW", "description": "wind power on land and at sea"},
        "windspeed": {"role": "input", "unit": "m/s", "description": "wind speed 10 m above ground"},
        "temperature": {"role": "input", "unit": "°C", "description": "air temperature 2 m above ground"},
    },
    "source": {"kind": "sample", "name": "generated sample", "sha256": "ab" * 32},
    "synthetic": False,
    "repairs": [
        {"fault": "repeated hour", "count": 3, "first": "2013-10-27T01:00:00+00:00", "handling": "kept the first"},
    ],
    "sha256": "cd" * 32,
}


def make_table(start: str = "2016-04-04", end: str = "2016-06-30T23:00") -> pd.DataFrame:
    """An hourly table of the four columns, smooth days and weather of several days, the same at each call."""
    hours = pd.date_range(start, end, freq="1h", tz="UTC", unit="us", name="utc_timestamp")
    rng = np.random.default_rng(1)
    local = (hours.hour.to_numpy() + 1.7) % 24
    weather = np.convolve(rng.normal(size=len(hours) + 47), np.ones(48) / 7, mode="valid")
    solar = np.clip(np.sin((local - 5) / 16 * np.pi), 0, None) * 20 * np.clip(1 + weather / 3, 0.2, 1.6)
    wind = np.clip(9 + 6 * weather + rng.normal(scale=0.4, size=len(hours)), 0.2, None)
    return pd.DataFrame(
        {"solar_GW": solar * (solar > 0.3), "wind_GW": wind, "windspeed": wind / 3, "temperature": 12 + 5 * weather},
        index=hours,
    )


def make_window(table: pd.DataFrame, start: str = "2016-05-01T00:00Z", targets: tuple[str, ...] = ()) -> pd.DataFrame:
    """Recorded, forecast with its band, and naive of each target, from `start` on."""
    rng = np.random.default_rng(2)
    parts = {}
    for target in targets or ("solar_GW", "wind_GW"):
        error = np.convolve(rng.normal(size=len(table) + 5), np.ones(6) / 6, mode="valid")
        forecast = table[target] + 3 * error * (table[target] > 0)
        parts |= {
            target: table[target],
            f"{target}_forecast": forecast.clip(lower=0),
            f"{target}_p10": (forecast - 1.6).clip(lower=0),
            f"{target}_p90": forecast + 1.6 * (forecast > 0),
            f"{target}_naive": table[target].shift(24),
        }
    return pd.DataFrame(parts)[start:]


@dataclass
class Production:
    """What `dsgo.registry.load_production` returns."""

    table: pd.DataFrame = field(default_factory=make_table)
    info: dict[str, Any] = field(default_factory=lambda: INFO)
    window_table: pd.DataFrame | None = None
    version: str = "3"
    run_id: str = "0123456789abcdef0123456789abcdef"
    promoted_at: str = "2016-07-04T12:03:00+00:00"
    trained_to: str = "2016-06-30T23:00:00+00:00"
    step: str = "gradient_boosting"

    def __post_init__(self) -> None:
        self.trained_from = self.table.index[0].isoformat()
        self.synthetic = self.info["synthetic"]
        self.data_digest = self.info["sha256"]
        self.model_uri = f"models:/{self.info['collection']}/{self.version}"
        self.dataset_uri = self.newest_uri = "runs:/fedcba9876543210fedcba9876543210/dataset"
        self.scores = {}
        self.predicted: list[pd.DataFrame] = []

    def dataset(self) -> Dataset:
        period = {"start": self.table.index[0].isoformat(), "end": self.table.index[-1].isoformat()}
        return Dataset(self.table, {**self.info, "period": period, "rows": len(self.table)})

    def window(self) -> pd.DataFrame:
        if self.window_table is not None:
            return self.window_table
        targets = tuple(name for name, column in self.info["columns"].items() if column["role"] == "target")
        return make_window(self.table, targets=targets)[: self.trained_to]

    def regimes(self) -> pd.DataFrame | None:
        """Two seasons and all hours of each target in the window, and a row that belongs to the back-test."""
        rows = []
        for span, regime, value in (
            ("window", "season", "spring"),
            ("window", "season", "winter"),
            ("window", "all", "all"),
            ("window", "hour", "00"),
            ("backtest", "all", "all"),
        ):
            for target in (name for name, column in self.info["columns"].items() if column["role"] == "target"):
                scores = {"n": 1234, "rmse": 1.5, "naive_rmse": 3.0, "skill": 0.5, "coverage80": 0.79, "width80": 2.25}
                rows.append({"span": span, "target": target, "regime": regime, "value": value, **scores})
        return pd.DataFrame(rows)

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Three times the wind speed as wind, its tenth as solar: easy to check, and only from inputs."""
        self.predicted.append(frame)
        wind = frame["windspeed"].to_numpy() * 3
        parts = {}
        for target, value in (("solar_GW", wind / 10), ("wind_GW", wind)):
            parts |= {target: value, f"{target}_p10": value - 0.5, f"{target}_p90": value + 0.5}
        return pd.DataFrame(parts)


DEMAND = {
    "collection": "demand",
    "title": "Electricity demand of the south",
    "timestamp": "utc_timestamp",
    "timezone": "Australia/Melbourne",
    "frequency": "30min",
    "location": {"latitude": -37.8, "longitude": 145.0},
    "naive": {"name": "last_week", "lag": "7D"},
    "columns": {
        "demand_MW": {"role": "target", "unit": "MW", "description": "electricity demand, mean of the half-hour"},
        "temperature": {"role": "input", "unit": "°C", "description": "air temperature"},
    },
    "source": {"kind": "sample", "name": "generated sample", "sha256": "ab" * 32},
    "synthetic": False,
    "repairs": [],
    "sha256": "cd" * 32,
}


def make_demand() -> Production:
    """Half-hourly demand of one region of the southern hemisphere, 3,500 to 9,500 MW, with temperature alone."""
    times = pd.date_range("2014-08-31T14:00Z", "2014-11-30T12:30Z", freq="30min", unit="us", name="utc_timestamp")
    days = np.arange(len(times)) / 48
    heat = np.sin(2 * np.pi * (days - 0.35)) + 0.6 * np.sin(days / 3)
    table = pd.DataFrame({"demand_MW": 5800 + 1200 * heat + 400 * heat**2, "temperature": 18 + 6 * heat}, index=times)
    window = 100 * make_window(table / 100, "2014-10-01T00:00Z", ("demand_MW",))
    last = times[-1].isoformat()
    return Production(table, DEMAND, window, promoted_at="2014-12-01T03:00:00+00:00", trained_to=last)


def ledger_row(time: str, version: int, replaced: int | None, **changes: Any) -> dict[str, Any]:
    """A row of `RestRegistry.promotions`."""
    row = {"time": pd.Timestamp(time), "action": "promotion", "version": version, "replaced": replaced, "reason": ""}
    row |= {"step": "gradient_boosting", "trained_to": "2016-06-30T23:00:00+00:00", "data_digest": "cd" * 32}
    return row | changes


class Registry:
    """What the dashboard's `system.System` answers; each answer can be set, also to an exception to be raised."""

    def __init__(self, **productions: Production | Exception) -> None:
        self.productions: dict[str, Production | Exception] = dict(productions)
        self.boards: dict[str, pd.DataFrame | Exception] = {}
        self.promoted = pd.DataFrame(
            [ledger_row("2016-07-04T12:03Z", 3, 2), ledger_row("2016-01-04T08:00Z", 2, 1, trained_to="")], dtype=object
        )
        self.ledgers: dict[str, pd.DataFrame | Exception] = {}
        self.runs: dict[str, list[dict[str, Any]] | Exception] = {}
        self.evaluations: dict[str, Any] = {}
        self.servers: list[Status] | Exception = make_services()
        self.checks: dict[str, pd.DataFrame | Exception] = {}
        self.decisions: dict[str, pd.DataFrame | Exception] = {}
        self.remedies: dict[str, str] = {}
        self.issued: dict[str, pd.DataFrame | Exception] = {}
        self.watches: dict[str, Watched | Exception] = {}
        self.lines: dict[tuple[str, str], str] = {}
        self.loads = 0

    def load_production(self, collection: str) -> Production:
        self.loads += 1
        return self._answer(self.productions.get(collection, NoProductionModel(collection)))

    def promotions(self, collection: str) -> pd.DataFrame:
        return self.promoted

    def findings(self, collection: str) -> pd.DataFrame:
        return self._newest(self._answer(self.checks.get(collection, make_findings().iloc[:0])))

    def all_findings(self, collection: str) -> pd.DataFrame:
        return self._answer(self.checks.get(collection, make_findings().iloc[:0]))

    def actions(self, collection: str) -> pd.DataFrame:
        return self._answer(self.decisions.get(collection, make_actions("wait").iloc[:0]))

    def remedy(self, collection: str) -> str:
        return self.remedies.get(collection, "")

    def predictions(self, collection: str, first: pd.Timestamp | None = None) -> pd.DataFrame:
        rows = self._answer(self.issued.get(collection, make_predictions().iloc[:0]))
        return rows if first is None else rows[rows["utc_timestamp"] >= first]

    def additions(self, collection: str) -> int:
        return id(self.predictions(collection)) if collection in self.issued else 0

    @staticmethod
    def _newest(found: pd.DataFrame) -> pd.DataFrame:
        return found[found["time"] == found["time"].max()]

    def watched(self, collection: str, first: pd.Timestamp) -> Watched:
        known = self._answer(self.watches.get(collection, Watched()))
        if known.predictions.empty:
            return known
        return replace(known, predictions=known.predictions[known.predictions["utc_timestamp"] >= first])

    def leaderboard(self, collection: str) -> pd.DataFrame:
        return self._answer(self.boards.get(collection, pd.DataFrame(columns=["model", "run_id", "version", "stage"])))

    def evaluation(self, collection: str, run_id: str) -> dict[str, pd.DataFrame]:
        return self._answer(self.evaluations.get(run_id, {"regimes": make_regimes(), "importance": make_importance()}))

    def ledger(self, collection: str) -> pd.DataFrame:
        return self._answer(self.ledgers.get(collection, pd.DataFrame()))

    def pipelines(self, collection: Any) -> list[dict[str, Any]]:
        return self._answer(self.runs.get(collection.name, []))

    def log(self, pipeline: str, step: str) -> str | None:
        return self.lines.get((pipeline, step))

    def services(self) -> list[Status]:
        return self._answer(self.servers)

    def _answer(self, answer: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer


def make_regimes(targets: tuple[str, ...] = ("solar_GW", "wind_GW")) -> pd.DataFrame:
    """What a run's `evaluation/regimes.csv` has, of two regimes."""
    rows = []
    for target in targets:
        for span in ("window", "backtest"):
            for regime, value in (("all", "all"), ("season", "spring"), ("season", "summer")):
                row = {"span": span, "target": target, "regime": regime, "value": value, "n": 744, "forecast": 9.5}
                row |= {"rmse": 1.5 if span == "window" else 1.75, "bias": -0.25, "skill": 0.5, "coverage80": 0.79}
                row |= {"naive_rmse": 3.0}
                rows.append(row | {"constant_coverage80": 0.85 if span == "window" else np.nan})
    return pd.DataFrame(rows)


def make_importance(targets: tuple[str, ...] = ("solar_GW", "wind_GW")) -> pd.DataFrame:
    """What a run's `evaluation/importance.csv` has."""
    rows = [
        {"target": target, "group": group, "rmse_increase": growth, "rmse_increase_sd": 0.1}
        for target in targets
        for group, growth in (("windspeed", 3.25), ("time of day", 0.5))
    ]
    return pd.DataFrame(rows)


def make_ledger(**changes: Any) -> pd.DataFrame:
    """A promotion, and before it a refusal, as `dsgo.ledger.entries` returns them."""
    common = {"collection": "wind_solar", "level": "PROD", "rules": [], "figures": {}, "data_digest": "cd" * 32}
    common |= {"state": "done", "begun": None}
    common |= {"code_version": "abc", "synthetic": False, "asked_by": "pipeline", "gate_run_id": "9" * 32}
    rows = [
        {"time": pd.Timestamp("2016-07-04T12:03Z"), "action": "promotion", "version": 3, "replaced": 2},
        {"time": pd.Timestamp("2016-07-01T08:00Z"), "action": "refusal", "version": 2, "replaced": None},
    ]
    reasons = ("beats the champion on every target", "wind_GW: no better than the champion")
    table = pd.DataFrame(
        [
            {**common, **row, "reason": reason, "run_id": f"{place}" * 32, **changes}
            for place, (row, reason) in enumerate(zip(rows, reasons, strict=True))
        ]
    )
    return table.astype({"version": "Int64", "replaced": "Int64"})


def make_pipelines(status: str = "FINISHED") -> list[dict[str, Any]]:
    """One run of a pipeline with two steps, as `system.System.pipelines` returns them."""
    start = pd.Timestamp("2016-07-04T11:50Z")

    def run(step: str, begins: float, lasts: float, ended: str = "FINISHED") -> dict[str, Any]:
        first = start + pd.Timedelta(seconds=begins)
        return {
            "run_id": f"{len(step):032x}",
            "experiment_id": "7",
            "step": step,
            "job": "training" if step == "pipeline" else "",
            "status": ended,
            "start": first,
            "end": first + pd.Timedelta(seconds=lasts),
            "synthetic": False,
        }

    steps = [run("process_data", 1, 12), run("gradient_boosting", 14, 95, status)]
    return [
        run("pipeline", 0, 120, status) | {"steps": steps, "logs": ["process_data", "gradient_boosting", "promote"]}
    ]


def make_services(**states: str) -> list[Status]:
    """The four servers, up unless `states` says otherwise."""
    return [
        Status(name, states.get(name, "up"), f"http://127.0.0.1:{5000 + place}", 100 + place, 60.0)
        for place, name in enumerate(("ftp", "tracking", "serve", "dashboard"))
    ]


def make_finding(kind: str, check: str, subject: str, **changes: Any) -> dict[str, Any]:
    """An alarm of the check of 4 July 2016, as a row of `dsgo.findings.newest`."""
    row = {"id": 1, "time": pd.Timestamp("2016-07-04T13:00Z"), "collection": "wind_solar", "run_id": "8" * 32}
    row |= {
        "data_digest": "cd" * 32,
        "synthetic": False,
        "version": 3,
        "kind": kind,
        "subject": subject,
        "check": check,
    }
    row |= {"first": pd.Timestamp("2016-06-24T00:00Z"), "last": pd.Timestamp("2016-06-30T23:00Z")}
    row |= {"measured": 4.5, "limit": 3.0, "alarm": True, "estimate": False}
    return row | {"text": f"{subject}: {check} is +4.5 (limit 3.0)."} | changes


def make_findings(*rows: dict[str, Any]) -> pd.DataFrame:
    """A table of findings; without `rows` four quiet ones of a week ago and of now, and no alarm."""
    if not rows:
        rows = tuple(
            make_finding("model", check, target, measured=0.8, limit=1.2, alarm=False, time=pd.Timestamp(time))
            for time in ("2016-06-27T13:00Z", "2016-07-04T13:00Z")
            for target in ("solar_GW", "wind_GW")
            for check in ("error",)
        )
    return pd.DataFrame(rows).astype({"version": "Int64", "measured": float, "limit": float})


def make_actions(action: str, reason: str = "wind_GW: error is +4.5 (limit 3.0).", **changes: Any) -> pd.DataFrame:
    """One decision about the data of `make_finding`, as `dsgo.actions.entries` returns it."""
    row = {"id": 1, "time": pd.Timestamp("2016-07-04T13:05Z"), "collection": "wind_solar", "action": action}
    row |= {"reason": reason, "last": pd.Timestamp("2016-06-30T23:00Z"), "data_digest": "cd" * 32, "run_id": ""}
    return pd.DataFrame([row | {"asked_by": "make refresh (user@host)"} | changes])


def make_predictions(
    source: str = "production", version: int | None = 3, hours: int = 72, **changes: Any
) -> pd.DataFrame:
    """What was issued for the hours after `make_table`, as `dsgo.predictions.newest` returns it."""
    times = pd.date_range("2016-07-01T00:00Z", periods=hours, freq="1h", unit="us")
    day = np.clip(np.sin((times.hour.to_numpy() - 4) / 16 * np.pi), 0, None)
    parts = []
    for target, value in (("solar_GW", 18 * day), ("wind_GW", 8 + 3 * np.sin(np.arange(hours) / 9))):
        part = pd.DataFrame({"utc_timestamp": times, "forecast": value, "p10": value * 0.8, "p90": value * 1.2})
        parts.append(part.assign(target=target))
    table = pd.concat(parts, ignore_index=True).assign(
        id=range(2 * hours), collection="wind_solar", source=source, version=version, data_digest="ef" * 32
    )
    issued = {"synthetic": False, "issued_at": pd.Timestamp("2016-07-05T06:15Z"), "run_id": "7" * 32}
    return table.assign(**issued | changes).astype({"version": "Int64"})
