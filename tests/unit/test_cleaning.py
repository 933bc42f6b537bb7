"""What is refused and what is mended in an untrusted table, one fault a test."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from wind_solar_sample import sample

from dsgo.cleaning import clean, gaps, read_raw_csv
from dsgo.collection import find
from dsgo.errors import DataError
from dsgo.sources import to_csv

CHECKOUT = Path(__file__).resolve().parents[2]
SHARED_DATA = Path(os.environ.get("DSGO_SHARED_DATA", CHECKOUT.parent / "shared" / "data"))
COLLECTION = find("wind_solar", CHECKOUT)
SPEC = COLLECTION.dataset
ROWS = sample(end="2013-01-31 23:00")  # a month without a fault


def rows(**columns) -> pd.DataFrame:
    return ROWS.assign(**columns)


def cleaned(frame: pd.DataFrame):
    """The table and the repairs by fault."""
    table, repairs = clean(frame, SPEC, file="table.csv", first_line=2)
    return table, {repair["fault"]: repair for repair in repairs}


def refused(frame: pd.DataFrame) -> DataError:
    with pytest.raises(DataError) as caught:
        clean(frame, SPEC, file="table.csv", first_line=2)
    return caught.value


def with_value(column: str, position: int, value) -> pd.DataFrame:
    frame = rows().astype({column: object})
    frame.loc[position, column] = value
    return frame


class TestReadRawCsv:
    @pytest.fixture
    def file(self, tmp_path):
        def write(content: bytes | str) -> Path:
            path = tmp_path / "table.csv"
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
            return path

        return write

    text = to_csv(ROWS).decode()

    def test_a_good_file_is_read_as_it_is(self, file):
        frame, repairs = read_raw_csv(file(self.text))
        assert repairs == []
        assert list(frame) == ["utc_timestamp", *COLLECTION.columns]
        assert frame["wind_GW"].tolist() == ROWS["wind_GW"].tolist()

    @pytest.mark.parametrize("end", ["\r\n", "\r"])
    def test_other_line_ends_a_byte_order_mark_and_blank_lines_at_the_end_are_fine(self, file, end):
        frame, repairs = read_raw_csv(file(b"\xef\xbb\xbf" + (self.text + "\n\n").replace("\n", end).encode()))
        assert (repairs, len(frame), frame.columns[0]) == ([], len(ROWS), "utc_timestamp")

    def test_a_comma_in_quotes_is_no_separator(self, file):
        lines = self.text.splitlines()
        quoted = "\n".join([lines[0] + ",note", *(line + ',"dry, windy"' for line in lines[1:])]) + "\n"
        assert read_raw_csv(file(quoted))[0]["note"].iloc[0] == "dry, windy"

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "is empty"),
            (b" \n\n", "is empty"),
            (b"PAR1\x15\x04\x15\x00\xff\xfe", "binary file"),
            ("utc_timestamp,wind_GW\n".encode("utf-16"), "binary file"),
            (b"\n<!DOCTYPE html><html><body>404</body></html>", "HTML page"),
            (text.splitlines()[0] + "\n", "has a header but no data"),
            (text.splitlines()[0], "has a header but no data"),
            (text.replace(",", ";"), "with commas between the columns"),
        ],
        ids=["empty", "blank", "parquet", "utf-16", "html", "header", "cut header", "semicolons"],
    )
    def test_what_is_no_table_is_refused(self, file, content, message):
        path = file(content)
        with pytest.raises(DataError, match=message) as caught:
            read_raw_csv(path)
        assert str(path) in str(caught.value)

    def test_an_absent_file_is_refused(self, tmp_path):
        with pytest.raises(DataError, match="No such file"):
            read_raw_csv(tmp_path / "absent.csv")

    def test_a_file_cut_in_the_middle_of_a_row_is_refused_by_row_and_line(self, file):
        lines = self.text.splitlines()
        path = file("\n".join(lines[:101]) + "\n" + ",".join(lines[101].split(",")[:3]))
        with pytest.raises(DataError, match=r"row 101: line 102: 3 fields instead of 7, .* cut off"):
            read_raw_csv(path)

    def test_a_file_cut_in_the_middle_of_a_number_loses_that_row_and_says_so(self, file):
        lines = self.text.splitlines()
        frame, repairs = read_raw_csv(file("\n".join(lines[:101]) + "\n" + lines[101][:-1]))
        assert len(frame) == 100
        assert [(r["count"], r["first"]) for r in repairs] == [(1, "line 102")]

    @pytest.mark.parametrize("bad", ["", "1,2", "a,b,c,d,e,f,g,h"])
    def test_a_line_with_another_number_of_fields_is_refused(self, file, bad):
        lines = self.text.splitlines()
        lines.insert(50, bad)
        with pytest.raises(DataError, match=r"row 50: line 51: \d fields instead of 7\. Mend or delete the line"):
            read_raw_csv(file("\n".join(lines) + "\n"))


class TestRefused:
    def test_a_missing_column(self):
        error = refused(rows().drop(columns="windspeed"))
        assert error.column == "windspeed"
        assert "there are utc_timestamp, solar_GW, wind_GW, temperature" in str(error)

    def test_a_target_in_another_unit_by_its_name(self):
        error = refused(rows().rename(columns={"wind_GW": "wind_MW"}))
        assert "Is wind_MW meant, in another unit?" in str(error)

    @pytest.mark.parametrize(
        ("column", "convert", "unit"),
        [
            ("solar_GW", lambda x: x * 1000, "MW"),
            ("wind_GW", lambda x: x * 1e6, "kW"),
            ("wind_GW", lambda x: x / 1000, "TW"),
            ("windspeed", lambda x: x * 3.6, "km/h"),
            ("temperature", lambda x: x + 273.15, "kelvin"),
            ("rad_diffuse", lambda x: x / 1000, "kW/m²"),
        ],
    )
    def test_another_unit_by_the_order_of_magnitude(self, column, convert, unit):
        error = refused(rows(**{column: convert(ROWS[column])}))
        assert error.column == column
        assert f"seems to be in {unit}: convert it to {COLLECTION.unit(column)}" in str(error)

    @pytest.mark.parametrize(
        ("column", "value", "message"),
        [
            ("wind_GW", "n/v", r"line 12: 'n/v' is no number"),
            ("wind_GW", "3,25", r"decimals with a point"),
            ("wind_GW", np.inf, r"infinite"),
            ("wind_GW", -5.0, r"-5 GW is not within 0 to 150 GW"),
            ("temperature", -999.0, r"not within -45 to 50 °C. Mend or delete the row"),
            ("utc_timestamp", "2013-01-01 10:30:00+00:00", r"is not the start of an interval of 1h"),
            ("utc_timestamp", "2013-01-01 10:00:00", r"has no offset"),
            ("utc_timestamp", "1013-01-01 10:00:00+00:00", r"not between 1980 and 2100"),
            ("utc_timestamp", "10 o'clock", r"is no timestamp"),
        ],
    )
    def test_a_wrong_value_by_column_row_and_line(self, column, value, message):
        error = refused(with_value(column, 10, value))
        assert (error.file, error.column, error.row) == ("table.csv", column, 11)
        assert pd.Series(str(error)).str.contains(message).all(), str(error)

    def test_text_in_a_column_that_was_read_from_a_file(self, tmp_path):
        lines = to_csv(ROWS).decode().splitlines()
        lines[20] = lines[20].rsplit(",", 1)[0] + ",cloudy"
        (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
        error = refused(read_raw_csv(tmp_path / "table.csv")[0])
        assert (error.column, error.row) == ("rad_diffuse", 20)

    def test_local_times_without_offset_say_what_gives_them_away(self):
        year = sample(end="2013-12-31 23:00")
        local = year["utc_timestamp"].dt.tz_convert("Europe/Berlin").dt.tz_localize(None)
        error = refused(year.assign(utc_timestamp=local.astype(str)))
        assert "has no offset" in str(error)
        assert "2013-10-27 02:00:00 comes twice, as an hour of local time does in autumn" in str(error)

    def test_a_timestamp_far_off_makes_the_table_mostly_absent(self):
        error = refused(with_value("utc_timestamp", 5, "2031-01-01 05:00:00+00:00"))
        assert "hours from 2013-01-01 00:00:00+00:00 to 2031-01-01 05:00:00+00:00 are absent" in str(error)

    def test_many_missing_values(self):
        error = refused(rows(solar_GW=ROWS["solar_GW"].where(ROWS.index % 10 != 3)))
        assert (error.column, error.row) == ("solar_GW", 4)
        assert f"75 of {len(ROWS)} values are missing" in str(error)

    def test_a_column_without_any_value(self):
        assert refused(rows(windspeed=np.nan)).column == "windspeed"

    def test_two_tables_of_the_same_hours(self):
        other = rows(wind_GW=ROWS["wind_GW"] + 1)
        assert "hours have rows that disagree" in str(refused(pd.concat([rows(), other])))


class TestMended:
    def test_a_faultless_table_needs_no_repair(self):
        table, repairs = cleaned(rows())
        assert repairs == {}
        assert list(table) == list(COLLECTION.columns)
        assert str(table.index.dtype) == "datetime64[us, UTC]"
        assert table.index.name == "utc_timestamp"
        assert (table.dtypes == "float64").all()
        assert len(table) == len(ROWS)

    def test_columns_nobody_asked_for_are_left_out(self):
        table, repairs = cleaned(rows(price=1.0, load=2.0))
        assert list(table) == list(COLLECTION.columns)
        assert repairs["columns that the collection does not know"]["count"] == 2

    def test_rows_out_of_order_are_sorted(self):
        order = [*range(100), *range(200, len(ROWS)), *range(100, 200)]
        table, repairs = cleaned(rows().iloc[order])
        pd.testing.assert_frame_equal(table, cleaned(rows())[0])
        assert repairs["rows out of order"]["count"] == 100
        assert repairs["rows out of order"]["first"] == "2013-01-05T04:00:00+00:00"

    def test_rows_given_twice_alike_are_kept_once(self):
        table, repairs = cleaned(pd.concat([rows().iloc[:40], rows().iloc[30:]]))
        pd.testing.assert_frame_equal(table, cleaned(rows())[0])
        assert repairs["hours given twice alike"]["count"] == 10

    def test_of_rows_that_disagree_the_later_is_kept(self):
        correction = rows().iloc[[7]].assign(wind_GW=1.5)
        table, repairs = cleaned(pd.concat([rows(), correction]))
        assert table["wind_GW"].iloc[7] == 1.5
        assert repairs["hours given twice, differing"]["count"] == 1
        assert repairs["hours given twice, differing"]["first"] == "2013-01-01T07:00:00+00:00"

    def test_where_clocks_are_put_back_the_row_in_standard_time_is_kept(self):
        raw = sample(start="2013-10-01", end="2013-11-30 23:00")
        twice = raw[raw["utc_timestamp"] == pd.Timestamp("2013-10-27 01:00", tz="UTC")]
        table, repairs = cleaned(raw)
        repair = repairs["hours given twice where clocks are put back"]
        assert (repair["count"], repair["first"]) == (1, "2013-10-27T01:00:00+00:00")
        assert table.loc[repair["first"], "windspeed"] == twice["windspeed"].iloc[1] != twice["windspeed"].iloc[0]

    def test_absent_hours_stay_absent_and_are_counted(self):
        table, repairs = cleaned(rows().drop(index=[5, 6, 7, 100]))
        assert len(table) == len(ROWS) - 4
        assert repairs["absent hours"]["count"] == 4
        assert repairs["absent hours"]["first"] == "2013-01-01T05:00:00+00:00"
        assert gaps(table.index, "1h").tolist() == [3, 1]

    def test_a_few_missing_values_take_their_rows_with_them(self):
        table, repairs = cleaned(rows(wind_GW=ROWS["wind_GW"].where(~ROWS.index.isin([3, 9]))))
        assert repairs["rows without a value in wind_GW"]["count"] == 2
        assert repairs["absent hours"]["count"] == 2
        assert len(table) == len(ROWS) - 2

    def test_negative_noise_is_set_to_zero(self):
        table, repairs = cleaned(with_value("solar_GW", 2, -0.004))
        assert table["solar_GW"].iloc[2] == 0
        assert repairs["solar_GW just below 0 GW"]["count"] == 1

    def test_mixed_offsets_become_utc_and_are_counted(self):
        local = [moment.isoformat() for moment in ROWS["utc_timestamp"].dt.tz_convert("Europe/Berlin")]
        text = ROWS["utc_timestamp"].astype(str).where(ROWS.index < 100, local)
        table, repairs = cleaned(rows(utc_timestamp=text))
        pd.testing.assert_index_equal(table.index, cleaned(rows())[0].index)
        assert repairs["times with an offset other than UTC"]["count"] == len(ROWS) - 100

    def test_a_file_of_local_times_with_offsets_over_a_clock_change(self):
        raw = sample(start="2013-10-20", end="2013-11-05 23:00").drop_duplicates("utc_timestamp", keep="last")
        local = [moment.isoformat() for moment in raw["utc_timestamp"].dt.tz_convert("Europe/Berlin")]
        table, repairs = cleaned(raw.assign(utc_timestamp=local))
        assert set(repairs) == {"times with an offset other than UTC"}
        assert table.index[-1] == raw["utc_timestamp"].iloc[-1]


class TestOutlook:
    """The month's last two days have weather only."""

    ahead = 48
    unknown = ROWS.index >= len(ROWS) - ahead
    frame = rows(solar_GW=ROWS["solar_GW"].where(~unknown), wind_GW=ROWS["wind_GW"].where(~unknown))

    def with_last(self, back: int, column: str, value) -> pd.DataFrame:
        """The frame with another value so many rows before its end."""
        frame = self.frame.copy()
        frame.loc[len(frame) - 1 - back, column] = value
        return frame

    def test_last_rows_without_targets_stay_and_are_no_fault(self):
        table, repairs = cleaned(self.frame)
        assert repairs == {} and len(table) == len(ROWS)
        assert table[COLLECTION.targets].isna().all(axis=1).tolist() == self.unknown.tolist()
        assert table[COLLECTION.inputs].notna().all(axis=None)

    def test_it_may_be_longer_than_missing_values_may_be_many(self):
        known = ROWS.index < 400
        table, _ = cleaned(rows(solar_GW=ROWS["solar_GW"].where(known), wind_GW=ROWS["wind_GW"].where(known)))
        assert table["wind_GW"].isna().sum() == len(ROWS) - 400

    def test_out_of_order_and_given_twice_it_is_mended_as_all_rows_are(self):
        shuffled = pd.concat([self.frame, self.frame.iloc[-3:]]).sample(frac=1, random_state=1, ignore_index=True)
        table, repairs = cleaned(shuffled)
        pd.testing.assert_frame_equal(table, cleaned(self.frame)[0])
        assert repairs["hours given twice alike"]["count"] == 3

    def test_targets_that_are_missing_before_are_dropped_as_ever(self):
        table, repairs = cleaned(self.with_last(60, "wind_GW", np.nan))
        assert repairs["rows without a value in wind_GW"]["count"] == 1 and len(table) == len(ROWS) - 1

    def test_a_row_with_one_of_the_targets_ends_what_is_known(self):
        table, repairs = cleaned(self.with_last(20, "wind_GW", 7.0))
        assert table["wind_GW"].isna().sum() == 20
        assert repairs["rows without a value in solar_GW, wind_GW"]["count"] == self.ahead - 20

    def test_rows_without_all_inputs_are_no_outlook(self):
        table, repairs = cleaned(self.with_last(3, "temperature", np.nan))
        assert repairs["rows without a value in solar_GW, wind_GW, temperature"]["count"] == 1
        assert len(table) == len(ROWS) - 1 and table["wind_GW"].isna().sum() == self.ahead - 1
        assert refused(self.frame.assign(temperature=ROWS["temperature"].where(~self.unknown))).row == 697

    @pytest.mark.parametrize(
        ("column", "value", "message"),
        [
            ("windspeed", 90.0, "90 m/s is not within 0 to 35 m/s"),
            ("rad_diffuse", np.inf, "the number is infinite"),
            ("temperature", 288.0, "288 °C is not within"),
        ],
    )
    def test_a_wrong_input_is_refused_by_column_row_and_line(self, column, value, message):
        error = refused(self.with_last(3, column, value))
        assert (error.column, error.row) == (column, len(ROWS) - 3)
        assert f"line {len(ROWS) - 2}: " in str(error) and message in str(error)

    def test_an_hour_far_ahead_is_refused(self):
        assert "are absent" in str(refused(self.with_last(0, "utc_timestamp", pd.Timestamp("2031-01-01", tz="UTC"))))


class TestLateLabels:
    fault = "hours of summer time with weather labelled one hour late"

    def test_the_sample_has_the_fault_and_it_is_reported(self):
        table, repairs = cleaned(sample(end="2013-12-31 23:00"))
        in_summer_time = [bool(moment.dst()) for moment in table.index.tz_convert("Europe/Berlin")]
        assert repairs[self.fault]["count"] == sum(in_summer_time)

    def test_right_labels_are_not_reported(self):
        raw = sample(end="2013-12-31 23:00").drop_duplicates("utc_timestamp", keep="last").set_index("utc_timestamp")
        summer = (raw.index > pd.Timestamp("2013-03-31", tz="UTC")) & (
            raw.index < pd.Timestamp("2013-10-27 01:00", tz="UTC")
        )
        raw.loc[summer, COLLECTION.inputs] = raw[COLLECTION.inputs].shift(-1)[summer]
        assert self.fault not in cleaned(raw.reset_index())[1]


@pytest.mark.skipif(not (SHARED_DATA / "germany.csv").is_file(), reason="the recorded table is not at hand")
def test_the_recorded_table_has_the_faults_it_is_known_for():
    path = SHARED_DATA / "germany.csv"
    frame, repairs = read_raw_csv(path)
    table, more = clean(frame, SPEC, file=path.name, first_line=2)
    assert [(r["fault"], r["count"]) for r in repairs + more] == [
        ("hours given twice where clocks are put back", 3),
        ("absent hours", 52),
        (TestLateLabels.fault, 17379),
    ]
    assert len(table) == 30596
    assert gaps(table.index, "1h").tolist() == [23, 4, 23, 1, 1]
