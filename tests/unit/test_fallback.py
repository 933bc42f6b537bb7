"""Who is asked for forecasts, in which order, and what counts as an answer."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from candidates import evidence
from sample_datasets import dataset

from dsgo import fallback, ledger, manifest, tags
from dsgo.errors import NoProductionModel, StoreError
from dsgo.ledger import DONE, PROD, PROMOTION, Entry
from dsgo.settings import load
from dsgo.tables import Dataset

NAME = "wind_solar"
WHOLE = dataset(end="2014-03-28 23:00")
KNOWN = Dataset(WHOLE.table[:"2014-03-20"], WHOLE.info, WHOLE.table[WHOLE.inputs]["2014-03-21":])
LEARNED_TO = pd.Timestamp("2014-03-18 23:00", tz="UTC")


class Version:
    """What `registry.load_version` returns: its forecasts are its number, unless it is `faulty`."""

    synthetic = False

    def __init__(self, number: int, faulty: str = "", learned_to: pd.Timestamp = LEARNED_TO) -> None:
        self.version, self.run_id, self.faulty, self.trained_to = number, f"run {number}", faulty, learned_to

    @property
    def forecaster(self) -> object:
        if self.faulty == "lost":
            raise StoreError("127.0.0.1:2121", "/model.pkl", "550 No such file")
        if self.faulty == "damaged":
            raise EOFError
        return object()

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        if self.faulty == "raises":
            raise ZeroDivisionError("division by zero")
        assert frame["utc_timestamp"].iloc[0] == KNOWN.table.index[KNOWN.table.index > self.trained_to][
            0
        ] - pd.Timedelta("7D")
        columns = [f"{target}{end}" for target in KNOWN.targets for end in ("", "_p10", "_p90")]
        answer = pd.DataFrame(float(self.version), index=frame.index, columns=columns)
        if self.faulty == "no number":
            answer.loc[answer.index[-1], "wind_GW_p90"] = np.nan
        return answer.drop(columns="solar_GW") if self.faulty == "another target" else answer


@pytest.fixture
def production(monkeypatch: pytest.MonkeyPatch):
    """Function: these versions are the ledger's path, the last of them in Production."""
    load().home.mkdir()

    def put(*versions: Version) -> None:
        known = {version.version: version for version in versions}
        for version in versions:
            ledger.append(Entry(NAME, PROMOTION, DONE, PROD, evidence(version.run_id), version.version))
        monkeypatch.setattr(fallback.registry, "load_version", lambda _, number: known[number])
        monkeypatch.setattr(fallback.registry, "load_production", lambda _: versions[-1])

    monkeypatch.setattr(
        fallback,
        "MlflowClient",
        lambda: SimpleNamespace(get_run=lambda _: SimpleNamespace(data=SimpleNamespace(tags={}))),
    )
    return put


def hours_after(moment: pd.Timestamp) -> pd.DatetimeIndex:
    return WHOLE.table.index[WHOLE.table.index > moment]


def test_production_answers_every_hour_that_it_has_not_learned_from(production) -> None:
    production(Version(1), Version(2))
    given = fallback.answer(KNOWN)
    assert (given.source, given.version.version, given.why) == ("production", 2, ())
    assert given.table.index.equals(hours_after(LEARNED_TO)) and (given.table == 2).all(axis=None)


FAULTS = {
    "lost": "Production cannot be used: StoreError: FTP store 127.0.0.1:2121, path '/model.pkl': 550 No such file",
    "damaged": "Production cannot be used: EOFError: without a message",
    "raises": "Production cannot be used: ZeroDivisionError: division by zero",
    "no number": "Production cannot be used: RegistryError: it answers without a number",
    "another target": "Production cannot be used: KeyError",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_if_production_cannot_the_version_before_it_answers_and_it_is_told_why(production, fault: str) -> None:
    production(Version(1), Version(2), Version(3, fault))
    given = fallback.answer(KNOWN)
    assert (given.source, given.version.version) == ("earlier_version", 2) and (given.table == 2).all(axis=None)
    assert len(given.why) == 1 and given.why[0].startswith(FAULTS[fault])


def test_what_has_been_learned_from_by_any_that_was_asked_is_not_forecast(production) -> None:
    later = LEARNED_TO + pd.Timedelta("30h")
    production(Version(1, learned_to=later), Version(2, "lost"))
    assert fallback.answer(KNOWN).table.index[0] == later + pd.Timedelta("1h")


def test_a_fault_shows_where_there_is_nothing_to_forecast(production) -> None:
    end = WHOLE.table.index[-1]
    production(Version(1, learned_to=end), Version(2, "lost", learned_to=end))
    given = fallback.answer(KNOWN)
    assert (given.source, len(given.table), len(given.why)) == ("earlier_version", 0, 1)


def test_if_none_can_the_naive_baseline_answers(production) -> None:
    production(Version(1, "raises"), Version(2, "no number"), Version(3, "lost"))
    given = fallback.answer(KNOWN)
    assert (given.source, given.version) == ("naive", None)
    assert [sentence.partition(" cannot")[0] for sentence in given.why] == ["Production", "version 2", "version 1"]
    assert given.table.index.equals(hours_after(LEARNED_TO)) and given.table.notna().all(axis=None)
    last_day = KNOWN.table["wind_GW"].iloc[-24:].to_numpy()
    np.testing.assert_array_equal(given.table["wind_GW"].iloc[-48:], np.tile(last_day, 2))


def test_before_anything_is_in_production_the_naive_baseline_answers_a_window_and_the_outlook(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nothing(_):
        raise NoProductionModel(NAME)

    monkeypatch.setattr(fallback.registry, "load_production", nothing)
    given = fallback.answer(KNOWN)
    assert given.why == ("No model of the collection 'wind_solar' is in Production yet.",)
    assert (
        given.table.index[0] == pd.Timestamp("2013-09-21", tz="UTC") and given.table.index[-1] == WHOLE.table.index[-1]
    )


def test_a_version_of_another_registry_is_not_asked(production, monkeypatch: pytest.MonkeyPatch) -> None:
    production(Version(1), Version(2, "lost"))
    other = Version(1)
    other.run_id = "another run"
    monkeypatch.setattr(fallback.registry, "load_version", lambda *_: other)
    given = fallback.answer(KNOWN)
    assert given.source == "naive" and "is another one than the ledger's" in given.why[1]


@pytest.mark.parametrize(
    ("damaged", "source"),
    [("model m-1/model.pkl (damaged)", "earlier_version"), ("evaluation/importance.png (missing)", "production")],
)
def test_a_model_that_loads_but_is_not_as_it_was_left_is_not_asked(
    production, monkeypatch: pytest.MonkeyPatch, damaged: str, source: str
) -> None:
    production(Version(1), Version(2))
    run = SimpleNamespace(data=SimpleNamespace(tags={tags.MANIFEST: "hash"}))
    monkeypatch.setattr(fallback, "MlflowClient", lambda: SimpleNamespace(get_run=lambda name: (name, run)[1]))
    monkeypatch.setattr(manifest, "damage", lambda *_, said=[[damaged], []]: said.pop(0))
    given = fallback.answer(KNOWN)
    assert given.source == source
    assert not given.why or damaged in given.why[0]


@pytest.mark.parametrize(
    ("now", "last"),
    [
        ("2014-03-25 06:30", "2014-04-04 23:00"),  # the dataset goes on beyond now: a week after its end
        ("2014-04-03 06:30", "2014-04-10 06:00"),  # a week from now on
        ("2026-01-01 00:00", "2014-04-04 23:00"),  # data of another time: a week after their end
    ],
)
def test_where_newer_data_were_refused_the_naive_baseline_goes_on_for_a_week(production, now: str, last: str) -> None:
    production(Version(1))
    given = fallback.without_newer(fallback.answer(KNOWN), KNOWN, "a.csv is cut off.", pd.Timestamp(now, tz="UTC"))
    assert (given.source, given.table.index[-1]) == ("production", KNOWN.outlook.index[-1])
    assert given.late.index.equals(pd.date_range("2014-03-29 00:00", last, freq="1h", tz="UTC", unit="us"))
    last_day = KNOWN.table["wind_GW"].iloc[-24:].to_numpy()
    np.testing.assert_allclose(given.late["wind_GW"], np.resize(last_day, len(given.late)))
    assert given.why == ("The newer data were refused; this is from those before. a.csv is cut off.",)
