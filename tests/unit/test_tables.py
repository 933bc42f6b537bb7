"""The dataset's files, and the checks on what a request brings."""

import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from dsgo.collection import find
from dsgo.errors import DataError
from dsgo.tables import check_inputs, make_dataset, read_dataset, write_dataset

COLLECTION = find("wind_solar", Path(__file__).resolve().parents[2])
SOURCE = {"kind": "file", "name": "table.csv", "sha256": "0" * 64}


def table(rows: int = 48) -> pd.DataFrame:
    index = pd.date_range("2015-03-01", periods=rows, freq="h", tz="UTC", unit="us", name="utc_timestamp")
    return pd.DataFrame({name: np.linspace(0, 20, rows) for name in COLLECTION.columns}, index=index)


def dataset(rows: int = 48, **options):
    return make_dataset(table(rows), COLLECTION, **{"source": SOURCE, "synthetic": False, **options})


def request(rows: int = 3) -> pd.DataFrame:
    frame = table(rows)[COLLECTION.inputs].reset_index()
    return frame.assign(utc_timestamp=frame["utc_timestamp"].astype(str))


class TestDataset:
    def test_what_is_written_is_read_back(self, tmp_path):
        repairs = [
            {"fault": "absent hours", "count": 2, "first": "2015-03-01T04:00:00+00:00", "handling": "left absent"}
        ]
        written = dataset(synthetic=True, repairs=repairs)
        read = read_dataset(write_dataset(written, tmp_path / "dataset"))
        pd.testing.assert_frame_equal(read.table, written.table, check_freq=False)
        assert str(read.table.index.dtype) == "datetime64[us, UTC]"
        assert read.info == written.info
        assert (read.collection, read.synthetic, read.digest) == ("wind_solar", True, written.digest)
        assert read.targets == COLLECTION.targets
        assert read.inputs == COLLECTION.inputs
        assert read.info["period"] == {"start": "2015-03-01T00:00:00+00:00", "end": "2015-03-02T23:00:00+00:00"}

    def test_equal_datasets_give_equal_bytes_and_digests(self, tmp_path):
        one, other = write_dataset(dataset(), tmp_path / "1"), write_dataset(dataset(), tmp_path / "2")
        assert sorted(path.name for path in one.iterdir()) == ["dataset.yaml", "table.parquet"]
        for name in ("dataset.yaml", "table.parquet"):
            assert (one / name).read_bytes() == (other / name).read_bytes()

    def test_the_digest_covers_table_and_schema(self):
        base = dataset()
        changed = table()
        changed.iloc[5, 0] += 1e-9
        other_table = make_dataset(changed, COLLECTION, source=SOURCE, synthetic=False)
        assert other_table.sha256 != base.sha256
        assert len({base.digest, other_table.digest, dataset(synthetic=True).digest}) == 3
        assert dataset(synthetic=True).sha256 == base.sha256

    def test_a_changed_table_is_refused(self, tmp_path):
        folder = write_dataset(dataset(), tmp_path)
        content = bytearray((folder / "table.parquet").read_bytes())
        content[len(content) // 2] ^= 1
        (folder / "table.parquet").write_bytes(content)
        with pytest.raises(DataError, match=r"table\.parquet: is damaged or was changed"):
            read_dataset(folder)

    @pytest.mark.parametrize("name", ["table.parquet", "dataset.yaml"])
    def test_a_missing_file_is_named(self, tmp_path, name):
        folder = write_dataset(dataset(), tmp_path)
        (folder / name).unlink()
        with pytest.raises(DataError, match=f"has no {name}"):
            read_dataset(folder)

    @pytest.mark.parametrize("text", ["a: [", "just text", "rows: 3"])
    def test_a_damaged_description_is_refused(self, tmp_path, text):
        folder = write_dataset(dataset(), tmp_path)
        (folder / "dataset.yaml").write_text(text)
        with pytest.raises(DataError, match=r"dataset\.yaml: is damaged"):
            read_dataset(folder)

    def test_a_name_that_is_neither_folder_nor_uri_is_refused(self, tmp_path):
        with pytest.raises(DataError, match="is no folder and no artifact URI"):
            read_dataset(tmp_path / "absent")

    def test_the_last_rows_without_targets_are_its_outlook(self, tmp_path):
        whole = table()
        whole.iloc[40:, :2] = np.nan
        known = make_dataset(whole.iloc[:40], COLLECTION, source=SOURCE, synthetic=False)
        assert known.outlook.empty and list(known.outlook) == COLLECTION.inputs and known.outlook.index.tz is not None
        made = make_dataset(whole, COLLECTION, source=SOURCE, synthetic=False)
        read = read_dataset(write_dataset(made, tmp_path))
        pd.testing.assert_frame_equal(read.outlook, table()[COLLECTION.inputs].iloc[40:], check_freq=False)
        pd.testing.assert_frame_equal(read.table, known.table, check_freq=False)
        outlook = read.info.pop("outlook")
        assert (outlook["start"], outlook["rows"]) == ("2015-03-02T16:00:00+00:00", 8)
        assert read.info == known.info, "nothing else is said otherwise"
        assert made.sha256 == known.sha256 and made.digest != known.digest

    @pytest.mark.parametrize("damage", [lambda file: file.unlink(), lambda file: file.write_bytes(b"PAR1")])
    def test_a_lost_or_damaged_outlook_is_named(self, tmp_path, damage):
        whole = table()
        whole.iloc[40:, :2] = np.nan
        folder = write_dataset(make_dataset(whole, COLLECTION, source=SOURCE, synthetic=False), tmp_path)
        damage(folder / "outlook.parquet")
        with pytest.raises(DataError, match=r"outlook\.parquet"):
            read_dataset(folder)

    def test_the_description_is_plain_yaml(self, tmp_path):
        info = yaml.safe_load((write_dataset(dataset(), tmp_path) / "dataset.yaml").read_text(encoding="utf-8"))
        assert info["columns"]["temperature"]["unit"] == "°C"
        assert info["source"] == SOURCE


class TestCheckInputs:
    info = dataset().info

    def test_order_of_rows_stays_and_order_of_columns_does_not_matter(self):
        frame = request()[["rad_diffuse", "utc_timestamp", "windspeed", "rad_horizontal", "temperature"]].iloc[::-1]
        times, values = check_inputs(frame.assign(note="?"), self.info)
        assert times.is_monotonic_decreasing
        assert str(times.dtype) == "datetime64[us, UTC]"
        assert values.dtype == np.float64
        np.testing.assert_array_equal(values, frame[COLLECTION.inputs].to_numpy())

    @pytest.mark.parametrize(
        "given",
        [
            ["2015-07-01T14:00:00+02:00", "2015-12-01T13:00:00+01:00", "2015-07-01 12:00Z"],
            ["2015-07-01T12:00:00Z", "2015-12-01T12:00:00Z", "2015-07-01T12:00:00Z"],
            pd.DatetimeIndex(["2015-07-01 12:00", "2015-12-01 12:00", "2015-07-01 12:00"], tz="UTC").tz_convert(
                "Asia/Tokyo"
            ),
            [pd.Timestamp(f"2015-{month}-01 12:00", tz="UTC").to_pydatetime() for month in ("07", "12", "07")],
        ],
    )
    def test_every_way_of_saying_a_time_with_its_offset_is_understood(self, given):
        times, _ = check_inputs(request().assign(utc_timestamp=given), self.info)
        expected = ["2015-07-01 12:00:00+00:00", "2015-12-01 12:00:00+00:00", "2015-07-01 12:00:00+00:00"]
        assert times.astype(str).tolist() == expected

    @pytest.mark.parametrize(
        ("column", "value", "message"),
        [
            ("windspeed", "fast", "'fast' is no number"),
            ("windspeed", "3,5", "decimals with a point"),
            ("windspeed", True, "True is no number"),
            ("windspeed", None, "the value is missing"),
            ("windspeed", np.nan, "the value is missing"),
            ("windspeed", np.inf, "infinite"),
            ("windspeed", 10**400, "is no number"),
            ("windspeed", 1 + 2j, r"\(1\+2j\) is no number"),
            ("windspeed", -4.0, "not within 0 to 35 m/s"),
            ("temperature", 288.15, r"288.15 °C is not within .* seems to be in kelvin"),
            ("rad_diffuse", 9999.0, "not within 0 to 800 W/m²"),
            ("utc_timestamp", "2015-03-01 01:00:00", "has no offset"),
            ("utc_timestamp", "tomorrow", "'tomorrow' is no timestamp"),
            ("utc_timestamp", None, "timestamp"),
            ("utc_timestamp", "1492-03-01T01:00:00Z", "not between 1980 and 2100"),
        ],
    )
    def test_a_wrong_value_is_named_by_column_and_row(self, column, value, message):
        frame = request().astype({column: object})
        frame.loc[1, column] = value
        with pytest.raises(DataError, match=message) as caught:
            check_inputs(frame, self.info)
        assert (caught.value.column, caught.value.row) == (column, 2)
        assert str(caught.value).startswith(f"request, column {column}, row 2: ")

    def test_times_without_a_time_zone_are_refused_in_every_form(self):
        naive = pd.date_range("2015-03-01", periods=3, freq="h")
        for given in (naive, naive.astype(str), [1.4e9, 1.4e9, 1.4e9]):
            with pytest.raises(DataError, match=r"utc_timestamp, row 1: .*(has no offset|is a number)"):
                check_inputs(request().assign(utc_timestamp=given), self.info)

    def test_a_missing_column_and_what_is_there_are_named(self):
        with pytest.raises(DataError, match=r"missing: windspeed; there are utc_timestamp, wind, temperature"):
            check_inputs(request().rename(columns={"windspeed": "wind"}), self.info)

    def test_a_column_that_comes_twice_is_named(self):
        frame = request()
        for column in ("windspeed", "utc_timestamp"):
            with pytest.raises(DataError, match=f"column {column}: there is more than one column of this name"):
                check_inputs(pd.concat([frame, frame[[column]]], axis=1), self.info)
        spare = frame.assign(note=1)
        check_inputs(pd.concat([spare, spare[["note"]]], axis=1), self.info)  # which nobody reads

    def test_numbers_are_read_from_every_kind_of_column(self):
        frame = request()
        _, expected = check_inputs(frame, self.info)
        for kind in (object, "Float64", "double[pyarrow]", pd.SparseDtype(float, 0.0)):
            np.testing.assert_array_equal(check_inputs(frame.astype({"windspeed": kind}), self.info)[1], expected)

    def test_complex_numbers_are_refused_not_cut(self):
        with pytest.raises(DataError, match=r"column windspeed, row 1: .* is no number"):
            check_inputs(request().assign(windspeed=[1j, 2j, 3j]), self.info)

    def test_a_request_without_rows_is_refused(self):
        with pytest.raises(DataError, match="has no rows"):
            check_inputs(request().iloc[:0], self.info)

    def test_it_is_fast_enough_to_serve(self):
        many, one = request(100_000), request(1)
        check_inputs(one, self.info)
        assert best_of(5, lambda: check_inputs(many, self.info)) < 0.1
        assert best_of(50, lambda: check_inputs(one, self.info)) < 0.002


def best_of(times: int, function) -> float:
    """Seconds of the processor for the fastest call: what the code needs when nothing else runs."""
    seconds = []
    for _ in range(times):
        start = time.process_time()
        function()
        seconds.append(time.process_time() - start)
    return min(seconds)
