"""The table of Open Power System Data, against a web server on this machine that can break in the ways servers break."""

import io
import os
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from file_server import Handler, Server, kept, running
from opsd import POWER_COLUMNS, TIME_SERIES, WEATHER, WEATHER_COLUMNS, raw_table
from wind_solar_sample import sample

from dsgo import download
from dsgo.cleaning import clean
from dsgo.collection import find
from dsgo.errors import SourceError

CHECKOUT = Path(__file__).resolve().parents[2]
SHARED_DATA = Path(os.environ.get("DSGO_SHARED_DATA", CHECKOUT.parent / "shared" / "data"))
SPEC = find("wind_solar", CHECKOUT).dataset
RAW = sample(end="2013-06-30 23:00")


def opsd_files(raw: pd.DataFrame) -> tuple[bytes, bytes]:
    """The two official files if they held these rows: with other columns, other years and empty fields."""
    text = raw["utc_timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    power = pd.DataFrame({"utc_timestamp": text, "cet_cest_timestamp": "x", "AT_load_actual": 1.5})
    for there, ours in POWER_COLUMNS.items():
        power[there] = (raw[ours] * 1000).round()
    power = power.drop_duplicates("utc_timestamp")
    early = power.iloc[:48].assign(utc_timestamp=lambda p: p["utc_timestamp"].str.replace("2013", "2012"))
    early[list(POWER_COLUMNS)] = float("nan")
    power = pd.concat([early, power])
    weather = pd.DataFrame({"utc_timestamp": text, "AL_temperature": 9.9})
    for there, ours in WEATHER_COLUMNS.items():
        weather[there] = raw[ours]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as package:
        package.writestr("opsd-weather_data-2019-04-09/README.md", "weather")
        package.writestr("opsd-weather_data-2019-04-09/weather_data.csv", weather.to_csv(index=False))
    return power.to_csv(index=False).encode(), archive.getvalue()


@pytest.fixture
def opsd(server, monkeypatch):
    monkeypatch.setenv("DSGO_OPSD_URL", server.url)
    server.files[TIME_SERIES], server.files[WEATHER] = opsd_files(RAW)
    return server


class TestOpenPowerSystemData:
    def test_the_two_files_make_the_table(self, here, opsd):
        raw = raw_table(here)
        assert (raw.synthetic, raw.source["kind"]) == (False, "opsd")
        assert list(raw.frame) == list(RAW)
        table, repairs = clean(raw.frame, SPEC, file="opsd")
        expected, _ = clean(RAW, SPEC, file="sample")
        pd.testing.assert_frame_equal(table, expected, check_freq=False)
        assert {repair["fault"] for repair in repairs} == {
            "absent hours",
            "hours of summer time with weather labelled one hour late",
        }

    def test_the_files_are_kept_and_verified(self, here, opsd):
        first = raw_table(here)
        assert len(opsd.seen) == 2
        assert raw_table(here).source == first.source
        assert len(opsd.seen) == 2  # nothing was fetched again
        series = next(here.cache.glob("*time_series_60min_singleindex.csv"))
        assert (here.cache / f"{series.name}.sha256").read_text().split()[0] == download.sha256(series)
        series.write_bytes(series.read_bytes()[:-100])
        assert raw_table(here).source == first.source
        assert len(opsd.seen) == 3  # the damaged one was

    def test_a_broken_download_goes_on_where_it_stopped(self, here, opsd):
        opsd.cuts = [40_000, 30_000]
        raw_table(here)
        assert opsd.seen[:3] == [(f"/{TIME_SERIES}", r) for r in (None, "bytes=40000-", "bytes=70000-")]
        series = next(here.cache.glob("*time_series_60min_singleindex.csv"))
        assert series.read_bytes() == opsd.files[TIME_SERIES]

    def test_a_download_goes_on_in_the_next_run(self, here, opsd):
        whole = opsd.files[TIME_SERIES]

        class Stop(BaseException):
            """Stands for the process being killed."""

        def killed(*_):
            raise Stop

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(download.time, "sleep", killed)
            opsd.cuts = [50_000, 0]
            with pytest.raises(Stop):
                raw_table(here)
        opsd.cuts = []
        opsd.seen.clear()
        raw_table(here)
        assert opsd.seen[0] == (f"/{TIME_SERIES}", "bytes=50000-")
        assert next(here.cache.glob("*time_series_60min_singleindex.csv")).read_bytes() == whole

    def test_a_file_that_changed_meanwhile_is_fetched_from_its_start(self, here, opsd):
        opsd.cuts = [50_000]
        old = opsd.files[TIME_SERIES]
        new = old.replace(b",1.5,", b",2.5,")
        get = Handler.do_GET

        def swap_after_first(handler):
            get(handler)
            opsd.files[TIME_SERIES] = new

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Handler, "do_GET", swap_after_first)
            raw_table(here)
        assert next(here.cache.glob("*time_series_60min_singleindex.csv")).read_bytes() == new

    def test_a_server_without_ranges(self, here, opsd):
        opsd.ranges, opsd.cuts = False, [50_000]
        raw_table(here)
        assert next(here.cache.glob("*time_series_60min_singleindex.csv")).read_bytes() == opsd.files[TIME_SERIES]

    def test_a_part_that_is_whole_already(self, here, opsd):
        url = f"{opsd.url}/{TIME_SERIES}"

        def interrupted(file, _):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            download.fetch(url, here.cache, interrupted)
        raw_table(here)
        assert opsd.seen[1][1] == f"bytes={len(opsd.files[TIME_SERIES])}-"

    def test_a_busy_server_is_asked_again(self, here, opsd):
        opsd.statuses = [503, 429]
        raw_table(here)
        assert len(opsd.seen) == 4

    @pytest.mark.parametrize(
        ("fault", "message"),
        [
            (lambda s: s.files.pop(TIME_SERIES), r"singleindex\.csv: the server answers 404 Not Found"),
            (lambda s: s.statuses.extend([503] * 9), r"singleindex\.csv: the server answers 503"),
            (lambda s: s.cuts.extend([9_000] + [0] * 9), r"the connection (broke|ended)"),
            (lambda s: s.files.update({TIME_SERIES: b"<html>moved</html>"}), r"sent an HTML page"),
            (lambda s: s.files.update({WEATHER: b"<html>moved</html>"}), r"04-09\.zip: the server sent an HTML page"),
            (
                lambda s: s.files.update({WEATHER: s.files[WEATHER][:-500]}),
                r"04-09\.zip: .* is no ZIP archive, or was cut",
            ),
            (
                lambda s: s.files.update({WEATHER: opsd_zip_without_table()}),
                r"has no weather_data\.csv, only notes\.txt",
            ),
            (
                lambda s: s.files.update({TIME_SERIES: s.files[TIME_SERIES][:-9]}),
                r"was cut off: its last line has no end",
            ),
            (
                lambda s: s.files.update({TIME_SERIES: s.files[TIME_SERIES].replace(b"DE_wind", b"DK_wind", 1)}),
                r"the table lacks DE_wind_generation_actual",
            ),
        ],
    )
    def test_a_fault_of_the_server_is_one_clear_error_and_nothing_is_kept(self, here, opsd, fault, message):
        fault(opsd)
        with pytest.raises(SourceError, match=message) as caught:
            raw_table(here)
        assert opsd.url in str(caught.value)
        faulty = "weather" if "zip" in str(caught.value) else "time_series"
        assert not [name for name in kept(here.cache) if faulty in name and not name.endswith(".part")]

    def test_an_archive_with_a_damaged_table_is_not_kept(self, here, opsd):
        content = bytearray(opsd.files[WEATHER])
        content[len(content) // 2] ^= 0xFF
        opsd.files[WEATHER] = bytes(content)
        with pytest.raises(SourceError, match=r"04-09\.zip: the archive is damaged"):
            raw_table(here)
        assert not [name for name in kept(here.cache) if "weather" in name]

    def test_no_server(self, here, monkeypatch):
        with running(Server()) as gone:
            monkeypatch.setenv("DSGO_OPSD_URL", gone.url)
        with pytest.raises(SourceError, match=rf"{gone.url}/{TIME_SERIES}: the connection was refused"):
            raw_table(here)

    @pytest.mark.skipif(
        not (SHARED_DATA / "opsd_raw_de_power_hourly.csv").is_file(), reason="the recorded raw files are not at hand"
    )
    def test_the_recorded_raw_power_and_weather_make_the_recorded_table(self, here, opsd):
        recorded = pd.read_csv(SHARED_DATA / "germany.csv", parse_dates=["utc_timestamp"])
        opsd.files[TIME_SERIES] = (SHARED_DATA / "opsd_raw_de_power_hourly.csv").read_bytes()
        opsd.files[WEATHER] = opsd_files(recorded)[1]
        made, _ = clean(raw_table(here).frame, SPEC, file="opsd")
        expected, _ = clean(recorded[recorded["utc_timestamp"] >= "2015-11-01"], SPEC, file="germany.csv")
        assert len(made) == 5831  # the hour lost in March 2016 is not in the weather
        pd.testing.assert_frame_equal(made, expected, check_freq=False, check_exact=True)


def opsd_zip_without_table() -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as package:
        package.writestr("notes.txt", "-")
    return archive.getvalue()
