"""Sources of raw data, against a web server on this machine that can break in the ways servers break."""

import http.server
import io
import os
import re
import threading
import zipfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from dsgo import download, settings
from dsgo.cleaning import clean
from dsgo.collection import find
from dsgo.errors import DataError, SourceError
from dsgo.sample import sample, to_csv
from dsgo.sources import POWER_COLUMNS, TIME_SERIES, WEATHER, WEATHER_COLUMNS, raw_table

CHECKOUT = Path(__file__).resolve().parents[2]
SHARED_DATA = Path(os.environ.get("DSGO_SHARED_DATA", CHECKOUT.parent / "shared" / "data"))
SPEC = find("wind_solar", CHECKOUT).dataset
RAW = sample(end="2013-06-30 23:00")


class Server(http.server.ThreadingHTTPServer):
    """Serves `files` by path, knows ranges, keeps a record of requests, and misbehaves as told."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.statuses: list[int] = []  # of the next replies, before any file is served
        self.cuts: list[int] = []  # bytes after which the next replies break off
        self.ranges = True
        self.content_type = "text/csv"
        self.seen: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        """A client that hangs up is no news."""


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        server.seen.append((self.path, asked))
        if server.statuses:
            return self.send_error(server.statuses.pop(0))
        content = server.files.get(self.path.lstrip("/"))
        if content is None:
            return self.send_error(404)
        tag, start = f'"{hash(content)}"', 0
        if server.ranges and asked and self.headers.get("If-Range") == tag:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                return self.end_headers()
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Type", server.content_type)
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", tag)
        self.end_headers()
        self.wfile.write(content[start : start + server.cuts.pop(0)] if server.cuts else content[start:])

    def log_message(self, *_):
        """Keep the tests' output clean."""


@contextmanager
def running(server: Server):
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "FIRST_PAUSE_S", 0.001)
    with running(Server()) as server:
        yield server


@pytest.fixture
def here(tmp_path, server):
    return replace(settings.load({"DSGO_HOME": str(tmp_path)}), opsd_url=server.url)


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
def opsd(server):
    server.files[TIME_SERIES], server.files[WEATHER] = opsd_files(RAW)
    return server


def test_the_sample_is_marked_as_synthetic(here):
    raw = raw_table("sample", here)
    assert raw.synthetic is True
    assert raw.source["kind"] == "sample"
    assert list(raw.frame) == list(RAW)
    assert raw_table("sample", here).source == raw.source


class TestFile:
    def test_a_file_is_read_and_named_without_its_folder(self, here, tmp_path):
        path = tmp_path / "table.csv"
        path.write_bytes(to_csv(RAW))
        raw = raw_table(str(path), here)
        assert (raw.synthetic, raw.first_line, len(raw.frame)) == (False, 2, len(RAW))
        assert raw.source == {"kind": "file", "name": "table.csv", "sha256": download.sha256(path)}

    @pytest.mark.parametrize("data", ["../absent.csv", "opds", "", "/absent/table.csv"])
    def test_what_is_no_source_is_refused_with_what_can_be_given(self, here, data):
        with pytest.raises(SourceError, match=rf"{re.escape(repr(data))}: there is no such file.*Give sample, opsd"):
            raw_table(data, here)


class TestAddress:
    def test_a_table_is_downloaded(self, here, server, capfd):
        server.files["table.csv"] = to_csv(RAW)
        raw = raw_table(f"{server.url}/table.csv", here)
        assert raw.frame["wind_GW"].tolist() == RAW["wind_GW"].tolist()
        assert (raw.source["kind"], raw.source["name"]) == ("url", f"{server.url}/table.csv")
        assert "table.csv" in capfd.readouterr().err  # the progress bar

    def test_it_is_fetched_anew_each_time_for_it_may_have_changed(self, here, server):
        server.files["table.csv"] = to_csv(RAW)
        raw_table(f"{server.url}/table.csv", here)
        server.files["table.csv"] = to_csv(RAW.iloc[:30])
        assert len(raw_table(f"{server.url}/table.csv", here).frame) == 30

    def test_html_instead_of_a_table(self, here, server):
        server.files["table.csv"] = b"<!doctype html><title>Sign in</title>"
        with pytest.raises(SourceError, match=r"table\.csv: the server sent an HTML page"):
            raw_table(f"{server.url}/table.csv", here)
        assert kept(here) == []

    def test_an_error_in_the_table_names_the_address(self, here, server):
        server.files["table.csv"] = b"utc_timestamp,wind_GW\n2013-01-01 00:00:00+00:00\n"
        with pytest.raises(DataError, match=re.escape(f"{server.url}/table.csv, row 1: line 2: 1 fields instead of 2")):
            raw_table(f"{server.url}/table.csv", here)

    def test_an_address_that_is_none(self, here):
        with pytest.raises(SourceError, match=r"http://: cannot be requested"):
            raw_table("http://", here)


class TestOpenPowerSystemData:
    def test_the_two_files_make_the_table(self, here, opsd):
        raw = raw_table("opsd", here)
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
        first = raw_table("opsd", here)
        assert len(opsd.seen) == 2
        assert raw_table("opsd", here).source == first.source
        assert len(opsd.seen) == 2  # nothing was fetched again
        series = next(here.cache.glob("*time_series_60min_singleindex.csv"))
        assert (here.cache / f"{series.name}.sha256").read_text().split()[0] == download.sha256(series)
        series.write_bytes(series.read_bytes()[:-100])
        assert raw_table("opsd", here).source == first.source
        assert len(opsd.seen) == 3  # the damaged one was

    def test_a_broken_download_goes_on_where_it_stopped(self, here, opsd):
        opsd.cuts = [40_000, 30_000]
        raw_table("opsd", here)
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
                raw_table("opsd", here)
        opsd.cuts = []
        opsd.seen.clear()
        raw_table("opsd", here)
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
            raw_table("opsd", here)
        assert next(here.cache.glob("*time_series_60min_singleindex.csv")).read_bytes() == new

    def test_a_server_without_ranges(self, here, opsd):
        opsd.ranges, opsd.cuts = False, [50_000]
        raw_table("opsd", here)
        assert next(here.cache.glob("*time_series_60min_singleindex.csv")).read_bytes() == opsd.files[TIME_SERIES]

    def test_a_part_that_is_whole_already(self, here, opsd):
        url = f"{opsd.url}/{TIME_SERIES}"

        def interrupted(file, _):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            download.fetch(url, here.cache, interrupted)
        raw_table("opsd", here)
        assert opsd.seen[1][1] == f"bytes={len(opsd.files[TIME_SERIES])}-"

    def test_a_busy_server_is_asked_again(self, here, opsd):
        opsd.statuses = [503, 429]
        raw_table("opsd", here)
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
            raw_table("opsd", here)
        assert opsd.url in str(caught.value)
        faulty = "weather" if "zip" in str(caught.value) else "time_series"
        assert not [name for name in kept(here) if faulty in name and not name.endswith(".part")]

    def test_an_archive_with_a_damaged_table_is_not_kept(self, here, opsd):
        content = bytearray(opsd.files[WEATHER])
        content[len(content) // 2] ^= 0xFF
        opsd.files[WEATHER] = bytes(content)
        with pytest.raises(SourceError, match=r"04-09\.zip: the archive is damaged"):
            raw_table("opsd", here)
        assert not [name for name in kept(here) if "weather" in name]

    def test_no_server(self, here, monkeypatch):
        with running(Server()) as gone:
            url = gone.url
        with pytest.raises(SourceError, match="the connection was refused"):
            raw_table("opsd", replace(here, opsd_url=url))

    def test_the_address_is_a_setting(self, tmp_path):
        assert settings.load({"DSGO_HOME": str(tmp_path)}).opsd_url == "https://data.open-power-system-data.org"
        changed = settings.load({"DSGO_HOME": str(tmp_path), "DSGO_OPSD_URL": "http://127.0.0.1:1/mirror"})
        assert changed.opsd_url == "http://127.0.0.1:1/mirror"

    @pytest.mark.skipif(
        not (SHARED_DATA / "opsd_raw_de_power_hourly.csv").is_file(), reason="the recorded raw files are not at hand"
    )
    def test_the_recorded_raw_power_and_weather_make_the_recorded_table(self, here, opsd):
        recorded = pd.read_csv(SHARED_DATA / "germany.csv", parse_dates=["utc_timestamp"])
        opsd.files[TIME_SERIES] = (SHARED_DATA / "opsd_raw_de_power_hourly.csv").read_bytes()
        opsd.files[WEATHER] = opsd_files(recorded)[1]
        made, _ = clean(raw_table("opsd", here).frame, SPEC, file="opsd")
        expected, _ = clean(recorded[recorded["utc_timestamp"] >= "2015-11-01"], SPEC, file="germany.csv")
        assert len(made) == 5831  # the hour lost in March 2016 is not in the weather
        pd.testing.assert_frame_equal(made, expected, check_freq=False, check_exact=True)


def kept(here) -> list[str]:
    """Names in the cache but for locks and notes on where a part came from."""
    return [file.name for file in here.cache.iterdir() if file.suffix not in (".lock", ".from")]


def opsd_zip_without_table() -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as package:
        package.writestr("notes.txt", "-")
    return archive.getvalue()
