"""Where raw data comes from: the generated sample, a CSV file, an address of one, or Open Power System Data."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pandas as pd

from dsgo import download, sample
from dsgo.cleaning import Repair, read_raw_csv
from dsgo.errors import SourceError
from dsgo.settings import Settings

# Open Power System Data, doi 10.25832/time_series/2019-06-05 and 10.25832/weather_data/2019-04-09.
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


@dataclass(frozen=True)
class RawTable:
    """A table as its source has it, for `dsgo.cleaning.clean`."""

    frame: pd.DataFrame
    source: Mapping[str, str]  # kind, name, sha256
    synthetic: bool
    first_line: int | None = None  # where the first row stands, when it is a text file
    repairs: list[Repair] = field(default_factory=list)


def raw_table(data: str, settings: Settings) -> RawTable:
    """The raw table that `data` names.

    Args:
        data: `sample`, `opsd`, a path to a CSV file, or its http(s) address.
        settings: the cache folder, and the address of Open Power System Data.

    Raises:
        SourceError: there is no such source, or it cannot be fetched.
        DataError: the file is no table.
    """
    if data == "sample":
        rows = sample.with_outlook()
        digest = hashlib.sha256(sample.to_csv(rows)).hexdigest()
        return RawTable(rows, _source("sample", f"generated sample, seed {sample.SEED}", digest), synthetic=True)
    if data == "opsd":
        return _opsd(settings)
    if data.startswith(("http://", "https://")):
        return _csv(download.fetch(data, settings.cache, _is_text_table, reuse=False), "url", data)
    path = Path(data).expanduser()
    if not path.is_file():
        known = "Give sample, opsd, the path of a CSV file (an absolute one is safest) or its http(s) address."
        where = "" if path.is_absolute() else f" in {Path.cwd()}"
        raise SourceError(repr(data), f"there is no such file{where}, and no source of that name.", known)
    return _csv(path, "file", str(path))


def _csv(path: Path, kind: str, name: str) -> RawTable:
    frame, repairs = read_raw_csv(path, name=name)
    short = name if kind == "url" else path.name  # where a file lies says nothing of what is in it
    return RawTable(frame, _source(kind, short, download.sha256(path)), False, first_line=2, repairs=repairs)


def _source(kind: str, name: str, sha256: str) -> dict[str, str]:
    return {"kind": kind, "name": name, "sha256": sha256}


def _opsd(settings: Settings) -> RawTable:
    base = settings.opsd_url.rstrip("/")
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
    return RawTable(frame, _source("opsd", name, digest), synthetic=False)


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


def _is_text_table(file: Path, url: str) -> None:
    with file.open("rb") as content:
        start = content.read(1024).lstrip(b"\xef\xbb\xbf \r\n\t")
    if start.startswith(b"<"):
        raise SourceError(url, "the server sent an HTML page, no CSV.", "Open the address in a browser.")


def _is_time_series(file: Path, url: str) -> None:
    _is_text_table(file, url)
    with file.open("rb") as content:
        _require(url, content.readline(), POWER_COLUMNS)
        content.seek(-1, 2)
        if content.read() != b"\n":
            raise SourceError(url, "the file was cut off: its last line has no end.", "Run again to fetch it anew.")


def _is_weather(file: Path, url: str) -> None:
    _is_text_table(file, url)
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
