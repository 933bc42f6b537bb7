"""Sources of raw data, against a web server on this machine that can break in the ways servers break."""

import re

import pytest
from file_server import kept
from wind_solar_sample import sample

from dsgo import download
from dsgo.errors import DataError, SourceError
from dsgo.sources import generated, raw_table, to_csv

RAW = sample(end="2013-06-30 23:00")
NAMED = {"sample": lambda _: generated(RAW, seed=4), "archive": lambda settings: pytest.fail("not asked for")}


def test_the_sample_is_marked_as_synthetic(here):
    raw = raw_table("sample", here, NAMED)
    assert raw.synthetic is True
    assert raw.source["kind"] == "sample"
    assert raw.source["name"] == "generated sample, seed 4"
    assert raw.frame is RAW


class TestFile:
    def test_a_file_is_read_and_named_without_its_folder(self, here, tmp_path):
        path = tmp_path / "table.csv"
        path.write_bytes(to_csv(RAW))
        raw = raw_table(str(path), here, NAMED)
        assert (raw.synthetic, raw.first_line, len(raw.frame)) == (False, 2, len(RAW))
        assert raw.source == {"kind": "file", "name": "table.csv", "sha256": download.sha256(path)}

    @pytest.mark.parametrize("data", ["../absent.csv", "achrive", "", "/absent/table.csv"])
    def test_what_is_no_source_is_refused_with_what_can_be_given(self, here, data):
        with pytest.raises(
            SourceError, match=rf"{re.escape(repr(data))}: there is no such file.*Give sample, archive, the path"
        ):
            raw_table(data, here, NAMED)

    def test_columns_with_other_names_are_renamed(self, here, tmp_path):
        path = tmp_path / "table.csv"
        path.write_bytes(to_csv(RAW.rename(columns={"windspeed": "Wind", "temperature": "Air"})))
        rename = {"Wind": "windspeed", "Air": "temperature", "Sun": "rad_horizontal"}
        assert list(raw_table(str(path), here, NAMED, rename).frame) == list(RAW)

    def test_a_column_that_has_its_name_already_is_not_hidden_by_another(self, here, tmp_path):
        path = tmp_path / "table.csv"
        path.write_bytes(to_csv(RAW.assign(Wind=9)))
        frame = raw_table(str(path), here, NAMED, {"Wind": "windspeed"}).frame
        assert list(frame) == [*RAW, "Wind"]
        assert frame["windspeed"].tolist() == RAW["windspeed"].tolist()


class TestAddress:
    def test_a_table_is_downloaded(self, here, server, capfd):
        server.files["table.csv"] = to_csv(RAW)
        raw = raw_table(f"{server.url}/table.csv", here, NAMED)
        assert raw.frame["wind_GW"].tolist() == RAW["wind_GW"].tolist()
        assert (raw.source["kind"], raw.source["name"]) == ("url", f"{server.url}/table.csv")
        assert "table.csv" in capfd.readouterr().err  # the progress bar

    def test_its_columns_are_renamed_too(self, here, server):
        server.files["table.csv"] = to_csv(RAW.rename(columns={"windspeed": "Wind"}))
        assert list(raw_table(f"{server.url}/table.csv", here, NAMED, {"Wind": "windspeed"}).frame) == list(RAW)

    def test_it_is_fetched_anew_each_time_for_it_may_have_changed(self, here, server):
        server.files["table.csv"] = to_csv(RAW)
        raw_table(f"{server.url}/table.csv", here, NAMED)
        server.files["table.csv"] = to_csv(RAW.iloc[:30])
        assert len(raw_table(f"{server.url}/table.csv", here, NAMED).frame) == 30

    def test_html_instead_of_a_table(self, here, server):
        server.files["table.csv"] = b"<!doctype html><title>Sign in</title>"
        with pytest.raises(SourceError, match=r"table\.csv: the server sent an HTML page"):
            raw_table(f"{server.url}/table.csv", here, NAMED)
        assert kept(here.cache) == []

    def test_an_error_in_the_table_names_the_address(self, here, server):
        server.files["table.csv"] = b"utc_timestamp,wind_GW\n2013-01-01 00:00:00+00:00\n"
        with pytest.raises(DataError, match=re.escape(f"{server.url}/table.csv, row 1: line 2: 1 fields instead of 2")):
            raw_table(f"{server.url}/table.csv", here, NAMED)

    def test_an_address_that_is_none(self, here):
        with pytest.raises(SourceError, match=r"http://: cannot be requested"):
            raw_table("http://", here, NAMED)
