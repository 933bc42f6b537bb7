"""The German wind and solar table as Open Power System Data has it: power and weather, from two of its packages.

`DSGO_OPSD_URL`, in the environment or `$DSGO_HOME/.env`, names a mirror.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

import pandas as pd

from dsgo import download
from dsgo.errors import SourceError
from dsgo.settings import Settings
from dsgo.sources import RawTable, require_text

URL = "https://data.open-power-system-data.org"
# doi 10.25832/time_series/2019-06-05 and 10.25832/weather_data/2019-04-09.
TIME_SERIES = "time_series/2019-06-05/time_series_60min_singleindex.csv"
WEATHER = "weather_data/opsd-weather_data-2019-04-09.zip"
WEATHER_MEMBER = "weather_data.csv"
FIRST_DAY, DAY_AFTER = "2013-01-01", "2017-01-01"  # power and weather are both there, and installed capacity is known
KEY = "utc_timestamp"
POWER_COLUMNS = {"DE_solar_generation_actual": "solar_GW", "DE_wind_generation_actual": "wind_GW"}
WEATHER_COLUMNS = {
    "DE_windspeed_10m": "windspeed",
    "DE_temperature": "temperature",
    "DE_radiation_direct_horizontal": "rad_horizontal",
    "DE_radiation_diffuse_horizontal": "rad_diffuse",
}
GW_PER_MW = 0.001
CHUNK_ROWS = 50_000  # the weather of all countries is wide: so many rows are about 100 MB while they are read


def raw_table(settings: Settings) -> RawTable:
    """The two files, downloaded or as kept in the cache folder, as one table.

    Raises:
        SourceError: one cannot be fetched, or is not what it should be; names its address.
    """
    base = settings.of_a_collection("DSGO_OPSD_URL", URL).rstrip("/")
    series = download.fetch(f"{base}/{TIME_SERIES}", settings.cache, _is_time_series)
    weather = download.fetch(f"{base}/{WEATHER}", settings.cache, _is_weather)
    with series.open("rb") as stream:
        power = _selected_rows(stream, POWER_COLUMNS)
    try:
        with zipfile.ZipFile(weather) as archive, archive.open(_member(archive, f"{base}/{WEATHER}")) as stream:
            air = _selected_rows(stream, WEATHER_COLUMNS)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        download.forget(weather)
        raise SourceError(
            f"{base}/{WEATHER}", f"the archive is damaged: {error}.", "Run again to fetch it anew."
        ) from error
    for column in POWER_COLUMNS.values():
        power[column] *= GW_PER_MW
    frame = power.merge(air, on=KEY, how="inner", sort=False)
    if frame.empty:
        raise SourceError(base, f"the two files share no hour from {FIRST_DAY} to {DAY_AFTER}.")
    digest = hashlib.sha256(f"{download.sha256(series)} {download.sha256(weather)}".encode()).hexdigest()
    name = "Open Power System Data, time_series 2019-06-05 and weather_data 2019-04-09"
    return RawTable(frame, {"kind": "opsd", "name": name, "sha256": digest}, synthetic=False)


def _selected_rows(stream: IO[bytes], columns: Mapping[str, str]) -> pd.DataFrame:
    """The renamed columns of the years in question, read piece by piece: memory does not grow with the file."""
    pieces: Iterable[pd.DataFrame] = pd.read_csv(
        stream,
        usecols=[KEY, *columns],
        dtype={KEY: "str", **dict.fromkeys(columns, "float64")},
        chunksize=CHUNK_ROWS,
    )
    kept = [piece[(piece[KEY] >= FIRST_DAY) & (piece[KEY] < DAY_AFTER)] for piece in pieces]
    return pd.concat(kept, ignore_index=True)[[KEY, *columns]].rename(columns=columns)


def _is_time_series(file: Path, url: str) -> None:
    require_text(file, url)
    with file.open("rb") as content:
        _require(url, content.readline(), POWER_COLUMNS)
        content.seek(-1, 2)
        if content.read() != b"\n":
            raise SourceError(url, "the file was cut off: its last line has no end.", "Run again to fetch it anew.")


def _is_weather(file: Path, url: str) -> None:
    require_text(file, url)
    if not zipfile.is_zipfile(file):
        raise SourceError(url, "what the server sent is no ZIP archive, or was cut off.", "Run again to fetch it anew.")
    with zipfile.ZipFile(file) as archive, archive.open(_member(archive, url)) as content:
        _require(url, content.readline(), WEATHER_COLUMNS)


def _member(archive: zipfile.ZipFile, url: str) -> str:
    for name in archive.namelist():
        if Path(name).name == WEATHER_MEMBER:
            return name
    raise SourceError(url, f"the archive has no {WEATHER_MEMBER}, only {', '.join(archive.namelist())}.")


def _require(url: str, header: bytes, columns: Mapping[str, str]) -> None:
    names = header.decode("utf-8", "replace").strip().split(",")
    missing = [name for name in (KEY, *columns) if name not in names]
    if missing:
        raise SourceError(url, f"the table lacks {', '.join(missing)}.", "Is it another release of the package?")
