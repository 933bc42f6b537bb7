"""The weekly watch: how often it alarms while nothing has changed, and how soon it finds what has.

Years of weekly checks on generated samples (each seed: three years of training, then `--years` without any drift: the sample's
installed capacity no longer grows after 2016), and with `--data` on a recorded table. Then known drifts are put into the sample
at several dates, three and a half days before a check, and the days to the first alarm are counted. The forecaster is a cheap
one (ridge regression), fitted once. Prints two tables in Markdown.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dsgo.cleaning import clean, read_raw_csv
from dsgo.collection import Collection, load
from dsgo.drift import data_drift, usual_of
from dsgo.evaluation import plan
from dsgo.faults import faults
from dsgo.findings import Finding
from dsgo.forecaster import Forecaster
from dsgo.settings import CHECKOUT
from dsgo.tables import make_dataset
from dsgo.watch import SHARE_OF_DATA, training_rows, watch_model
from dsgo.watch_shown import name
from dsgo.watching import Watching
from dsgo.watching import read as read_limits

sys.path.append(str(CHECKOUT / "projects" / "wind_solar" / "process_data"))
from wind_solar_sample import sample

WEEK, HOUR = pd.Timedelta("7D"), pd.Timedelta("1h")
MOST_WEEKS = 13  # that a drift is looked for
STARTS = ("02-05", "05-06", "08-05", "11-04")  # of drifts


def changed(table: pd.DataFrame, column: str, change: Callable[[pd.Series], pd.Series]) -> pd.DataFrame:
    return table.assign(**{column: change(table[column])})


def ramp(values: pd.Series) -> np.ndarray:
    """0 at the first row, 1 after a quarter, and so on."""
    return (values.index - values.index[0]) / pd.Timedelta("91D")


# Each drift: from the rows after its start to what a feed would bring.
DRIFTS: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "temperature +2 °C": lambda t: changed(t, "temperature", lambda x: x + 2),
    "windspeed +1 m/s": lambda t: changed(t, "windspeed", lambda x: x + 1),
    "windspeed in km/h": lambda t: changed(t, "windspeed", lambda x: x * 3.6),
    "temperature in °F": lambda t: changed(t, "temperature", lambda x: 1.8 * x + 32),
    "wind_GW in TW": lambda t: changed(t, "wind_GW", lambda x: x / 1000),
    "windspeed stuck": lambda t: changed(t, "windspeed", lambda x: x * 0 + x.iloc[0]),
    "rad_diffuse stuck at 0": lambda t: changed(t, "rad_diffuse", lambda x: x * 0),
    "two days missing": lambda t: t[t.index >= t.index[0] + pd.Timedelta("2D")],
    "solar_GW +10 %": lambda t: changed(t, "solar_GW", lambda x: x * 1.10),
    "solar_GW −15 %": lambda t: changed(t, "solar_GW", lambda x: x * 0.85),
    "wind_GW +10 %": lambda t: changed(t, "wind_GW", lambda x: x * 1.10),
    "wind_GW −15 %": lambda t: changed(t, "wind_GW", lambda x: x * 0.85),
    "wind_GW −30 %": lambda t: changed(t, "wind_GW", lambda x: x * 0.70),
    "windspeed −1 m/s a quarter": lambda t: changed(t, "windspeed", lambda x: (x - ramp(x)).clip(lower=0)),
    "solar_GW +20 % a quarter": lambda t: changed(t, "solar_GW", lambda x: x * (1 + 0.2 * ramp(x))),
}


@dataclasses.dataclass(frozen=True)
class Watched:
    """A table up to some week, a forecaster that was fitted once, and what it was tested on."""

    table: pd.DataFrame
    trained_to: pd.Timestamp
    forecaster: Forecaster
    test: pd.DataFrame
    info: dict
    limits: Watching

    @classmethod
    def train(cls, table: pd.DataFrame, trained_to: pd.Timestamp, collection: Collection) -> Watched:
        """Fit on the rows up to `trained_to`, and test as the training steps do."""
        rows = table.loc[:trained_to]
        info = make_dataset(rows, collection, source={"name": "bench"}, synthetic=True).info
        folds, window = plan(rows.index, info)
        parts: list[pd.DataFrame] = []
        for fold in (*folds, window):
            known, _ = fold.split(rows)
            forecaster = Forecaster(info, regressor()).fit(known)
            if fold is window:
                forecaster.calibrate(pd.concat(parts), rows)
            parts.append(with_forecasts(forecaster, rows[rows.index < fold.end], fold.start))
        test = pd.concat(parts)
        points = test[[column for column in test if not column.endswith(("_p10", "_p90"))]]
        final = Forecaster(info, regressor()).fit(rows).calibrate(points, rows)
        return cls(table, trained_to, final, test, dict(info), read_limits(collection.watch))

    def weeks(self, first: pd.Timestamp, last: pd.Timestamp) -> Iterator[tuple[pd.Timestamp, list[Finding]]]:
        """The findings of each weekly check, as `dsgo.watch` comes to them; what does not change is computed once."""
        spans = self.limits.short_days, self.limits.long_days
        allowed = SHARE_OF_DATA * self.limits.false_alarms_a_year
        training = training_rows(self.table.index, self.trained_to, spans[1])
        usual = usual_of(self.table, self.info, training)
        live = with_forecasts(self.forecaster, self.table, self.trained_to + HOUR)
        for end in pd.date_range(first, last, freq=WEEK):
            rows = np.asarray(self.table.index <= end)
            table, part = self.table[rows], training[rows]
            cut = {
                key: dataclasses.replace(
                    one, **{f: getattr(one, f)[rows] for f in ("index", "usual", "scale", "standard")}
                )
                for key, one in usual.items()
            }
            found = faults(table, self.info, part, cut, spans[0], self.limits.missing_hours, end + HOUR)
            found += data_drift(cut, self.info, part, spans, allowed)
            found += watch_model(self.test, live.loc[:end], live.iloc[:0], self.info, self.limits)
            yield end, found


def regressor() -> object:
    return make_pipeline(StandardScaler(), Ridge(10.0))


def with_forecasts(forecaster: Forecaster, table: pd.DataFrame, start: pd.Timestamp) -> pd.DataFrame:
    """Recorded and forecast values from `start` on."""
    predicted = forecaster.forecast(table)
    rows = table.index >= start
    return table.loc[rows, list(forecaster.targets)].join(predicted[rows])


def undrifted(watched: Watched, label: str, years: float) -> str:
    """A row of the first table: alarms in so many years of weekly checks."""
    first = watched.trained_to + watched.limits.long_days * pd.Timedelta("1D")
    last = min(watched.table.index[-1], first + years * 365 * pd.Timedelta("1D"))
    alarms: dict[str, list[pd.Timestamp]] = {}
    count, began = 0, time.process_time()
    for end, found in watched.weeks(first, last):
        count += 1
        for one in found:
            if one.alarm:
                alarms.setdefault(name(one), []).append(end)
    weeks = {end for ends in alarms.values() for end in ends}
    begins = [end for end in weeks if end - WEEK not in weeks]
    what = "; ".join(
        f"{key} {ends[0]:%Y-%m-%d}{f' and {len(ends) - 1} more' * (len(ends) > 1)}" for key, ends in alarms.items()
    )
    seconds = (time.process_time() - began) / count
    return f"| {label} | {count} | {len(begins)} | {len(begins) * 52 / count:.1f} | {len(weeks)} | {what} | {seconds:.2f} |"


def delays(watched: Watched, drift: str, year: int) -> tuple[list[float], list[str]]:
    """Days to the first alarm, for each start, and which check it was. The weeks without a drift must have none."""
    found_after, by = [], []
    for start in STARTS:
        start = pd.Timestamp(f"{year}-{start}", tz="UTC")
        table = pd.concat([watched.table.loc[: start - HOUR], DRIFTS[drift](watched.table.loc[start:])])
        first = start + WEEK / 2 - HOUR
        drifted = dataclasses.replace(watched, table=table.loc[: start + (MOST_WEEKS + 1) * WEEK])
        after, check = float("inf"), ""
        for end, found in drifted.weeks(first, first + MOST_WEEKS * WEEK):
            alarms = [name(one) for one in found if one.alarm]
            if alarms:
                after, check = (end + HOUR - start) / pd.Timedelta("1D"), alarms[0]
                break
        found_after.append(after)
        by.append(check)
    return found_after, by


def recorded(path: Path, collection: Collection) -> tuple[pd.DataFrame, Collection]:
    """A recorded table, to be trained on to 2014: its two years allow one fold of the back-test."""
    frame, _ = read_raw_csv(path)
    table, _ = clean(frame, collection.dataset, file=path.name)
    spec = {**collection.dataset, "backtest": {"folds": 1, "months": 6}}
    return table, dataclasses.replace(collection, dataset=spec)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--seeds", type=int, nargs="*", default=[4, 5, 6, 7])
    options.add_argument("--years", type=float, default=2.0, help="without drift, for each seed")
    options.add_argument("--data", type=Path, help="a recorded table of wind and solar that begins in 2013")
    options.add_argument("--drifts", nargs="*", default=list(DRIFTS))
    options = options.parse_args()
    collection = load(CHECKOUT / "projects" / "wind_solar" / "collection.yaml")
    print(
        "| data | checks | alarms begin | a year | weeks with an alarm | which | s of processor a check |", flush=True
    )
    print("|---|---|---|---|---|---|---|")
    watched = None
    for seed in options.seeds:
        table, _ = clean(sample(seed=seed, start="2017-01-01", end="2022-03-01"), collection.dataset, file="sample")
        one = Watched.train(table, pd.Timestamp("2019-12-31 23:00", tz="UTC"), collection)
        watched = watched or one
        if options.years:
            print(undrifted(one, f"sample, seed {seed}", options.years), flush=True)
    if options.data:
        table, shorter = recorded(options.data, collection)
        one = Watched.train(table, pd.Timestamp("2014-12-31 23:00", tz="UTC"), shorter)
        print(undrifted(one, "recorded, from 2015", 1.5), flush=True)
    if not watched or not options.drifts:
        return
    print("\n| drift | days to the first alarm, by start | found by |\n|---|---|---|")
    print(f"| | {' · '.join(STARTS)} | |")
    for drift in options.drifts:
        days, by = delays(watched, drift, 2020)
        shown = " · ".join(f"{one:.1f}" if np.isfinite(one) else f"over {7 * MOST_WEEKS}" for one in days)
        print(f"| {drift} | {shown} | {', '.join(sorted(set(filter(None, by))))} |", flush=True)


if __name__ == "__main__":
    main()
