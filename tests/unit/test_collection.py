"""Reading a collection: the shipped one, and every way in which its file can be wrong."""

from pathlib import Path

import pytest
import yaml

from dsgo import collection
from dsgo.collection import find, load, translated
from dsgo.errors import DataError, DSGoError

CHECKOUT = Path(__file__).resolve().parents[2]
SHIPPED = CHECKOUT / "projects" / "wind_solar" / "collection.yaml"


def test_the_shipped_collection_names_its_columns_and_units():
    found = find("wind_solar", CHECKOUT)
    assert found.targets == ["solar_GW", "wind_GW"]
    assert found.inputs == ["windspeed", "temperature", "rad_horizontal", "rad_diffuse"]
    assert [found.unit(name) for name in found.columns] == ["GW", "GW", "m/s", "°C", "W/m²", "W/m²"]
    assert found.experiment == "predicting_wind_solar"


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(DSGoError, match=r"wind_soler.*Known collections: .*wind_solar"):
        find("wind_soler", CHECKOUT)


def changed(tmp_path, change):
    content = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    change(content)
    path = tmp_path / "collection.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def with_calendar(**other):
    """A change that adds a calendar which is right but for `other`."""
    right = {"country": "AU", "subdivision": "VIC", "break": ["12-24", "01-06"], "school_holidays": []}
    return lambda content: content["dataset"].update(calendar={**right, **other})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("title"), r"the key title is missing"),
        (lambda c: c["dataset"].pop("timezone"), r"the key dataset\.timezone is missing"),
        (lambda c: c["dataset"]["location"].update(latitude="north"), r"dataset\.location\.latitude: 'north' is of"),
        (lambda c: c["dataset"].update(timezone="Europe/Bonn"), r"dataset\.timezone: 'Europe/Bonn' is no time zone"),
        (lambda c: c["dataset"].update(inputs_late_in_summer_time="1h"), r"summer_time: '1h' must be true or false"),
        (lambda c: c["dataset"].update(inputs_known_ahead="yes"), r"inputs_known_ahead: 'yes' must be true or false"),
        (lambda c: c["dataset"].update(level="rising"), r"dataset\.level: 'rising' must be growing or constant"),
        (lambda c: c["dataset"].update(months_by="utc"), r"dataset\.months_by: 'utc' must be UTC or local"),
        (lambda c: c["dataset"].update(horizon="week"), r"dataset\.horizon: 'week' must be month ahead or day ahead"),
        (
            lambda c: c["dataset"]["backtest"].update(least_days="180d"),
            r"dataset\.backtest\.least_days: '180d' is of the wrong type",
        ),
        (lambda c: c["dataset"]["backtest"].update(least_days=0), r"least_days: must be 1 or more"),
        (lambda c: c["dataset"].update(calendar={}), r"the key dataset\.calendar\.country is missing"),
        (with_calendar(country=61), r"calendar\.country: 61 is of the wrong type"),
        (
            with_calendar(**{"break": ["01-06", "12-24"]}),
            r"calendar\.break: \['01-06', '12-24'\] cannot be used\..*turn",
        ),
        (with_calendar(**{"break": ["12-24"]}), r"calendar\.break: \['12-24'\] cannot be used"),
        (with_calendar(**{"break": ["12-24", "02-30"]}), r"calendar\.break: .*'02-30'.* cannot be used"),
        (with_calendar(school_holidays=["2012-03-31"]), r"school_holidays: '2012-03-31' cannot be used"),
        (
            with_calendar(school_holidays=[["2012-04-15", "2012-03-31"]]),
            r"school_holidays: .*2012-04-15.* cannot be used",
        ),
        (lambda c: c["dataset"]["window"].update(months=0), r"dataset\.window\.months: must be 1 or more"),
        (lambda c: c["dataset"]["columns"]["wind_GW"].pop("unit"), r"dataset\.columns\.wind_GW\.unit is missing"),
        (lambda c: c["dataset"]["columns"]["wind_GW"].update(role="output"), r"wind_GW\.role: 'output' must be one of"),
        (lambda c: c["dataset"]["columns"]["wind_GW"].update(maximum=0), r"wind_GW: minimum must be less than maximum"),
        (lambda c: c["dataset"]["columns"]["wind_GW"].update(dark=True), r"wind_GW\.dark: no such key"),
        (lambda c: c["gate"].pop("latency_ms"), r"rule gate\.latency_ms is missing"),
        (lambda c: c["gate"].update(minimum_skil=0.2), r"gate\.minimum_skil: there is no such rule"),
        (lambda c: c["gate"].update(confidence=95), r"gate\.confidence: 95 cannot be used"),
        (lambda c: c.pop("act"), r"the key act is missing"),
        (lambda c: c["act"].pop("refusals"), r"The key act\.refusals is missing"),
        (lambda c: c["act"].update(refusal=2), r"act\.refusal: there is no such key"),
        (lambda c: c["act"].update(refusals=1.5), r"act\.refusals: 1\.5 cannot be used"),
        (lambda c: c["act"].update(cool_down_days="4 weeks"), r"act\.cool_down_days: '4 weeks' cannot be used"),
        (lambda c: c["schedule"].pop("report"), r"The key schedule\.report is missing"),
        (lambda c: c["schedule"].update(training="never"), r"schedule\.training: there is no such key"),
        (lambda c: c["schedule"].update(report="Mondays"), r"schedule\.report: 'Mondays' is no time"),
        (lambda c: [c["dataset"]["columns"].pop(k) for k in ("solar_GW", "wind_GW")], r"no column has the role target"),
    ],
)
def test_a_wrong_file_is_refused_by_file_and_key(tmp_path, change, message):
    path = changed(tmp_path, change)
    with pytest.raises(DataError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(("key", "values"), collection.OPTIONS.items())
def test_every_value_that_an_option_may_have_is_taken(tmp_path, key, values):
    for value in values:
        assert load(changed(tmp_path, lambda c, value=value: c["dataset"].update({key: value}))).dataset[key] == value


def test_columns_of_the_calendar_are_neither_forecast_nor_forecast_from():
    for name in ("victoria_demand", "victoria_demand_day_ahead"):
        found = find(name, CHECKOUT)
        shown = collection.columns_of(found.dataset, "calendar")
        assert shown == ["workday", "holiday", "school_holiday", "year_end_break", "clock_change"]
        assert [*found.targets, *found.inputs, *shown] == list(found.columns)


@pytest.mark.parametrize(
    ("text", "message"), [("a: [", "no valid YAML"), ("", "holds no keys"), ("- a", "holds no keys")]
)
def test_a_file_that_is_no_collection_is_refused(tmp_path, text, message):
    path = tmp_path / "collection.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        load(path)


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        load(tmp_path / "collection.yaml")


INFO = {"title": "Power", "columns": {"a": {"unit": "GW", "description": "one"}, "b": {"unit": "GW"}}, "rows": 3}


def test_names_of_another_language_replace_what_they_name_and_nothing_else(tmp_path):
    (tmp_path / "de.yaml").write_text("title: Strom\ncolumns: {a: eins, unknown: x}\n", encoding="utf-8")
    info = translated(INFO, tmp_path / "de.yaml")
    assert info == {
        "title": "Strom",
        "columns": {"a": {"unit": "GW", "description": "eins"}, "b": {"unit": "GW"}},
        "rows": 3,
    }
    assert INFO["columns"]["a"]["description"] == "one"
    assert translated(INFO, tmp_path / "fr.yaml") == INFO


@pytest.mark.parametrize("content", ["- a list", "columns: [a]", "columns: {a: 1}", "title: [", "", b"\xff"])
def test_a_file_of_names_that_cannot_be_used_is_named(tmp_path, content):
    file = tmp_path / "de.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=r"de\.yaml"):
        translated(INFO, file)


def test_the_shipped_names_are_of_columns_that_there_are():
    names = yaml.safe_load(SHIPPED.with_name("de.yaml").read_text(encoding="utf-8"))
    assert set(names["columns"]) == set(find("wind_solar", CHECKOUT).columns)
