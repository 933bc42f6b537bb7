"""Write the weekly report of a collection: an HTML file that needs no network, and a PDF.

Reads: the model in Production, its out-of-sample forecasts, scores and dataset, what the watch has found and what was
forecast ahead, through `dsgo.rest_registry`.
Writes: `<output>/<collection>_<week>.html` and `.pdf` (`_de` before the dot for German); equal input gives equal bytes.
Fails when: the collection is unknown, nothing is in Production, or the week is malformed, learned from, or empty.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from contents import describe
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dsgo import collection as collections
from dsgo import mail, outbox, settings
from dsgo.errors import DSGoError, MailError
from dsgo.language import ENGLISH, LANGUAGES, Language
from dsgo.rest_registry import RestRegistry
from dsgo.review import Review, review, utc
from dsgo.weeks import Week

SIZES = 4  # of type that the template for paper has
TEMPLATES = Path(__file__).resolve().parent / "templates"


@dataclass(frozen=True)
class Report:
    """One report, ready to be written or sent."""

    collection: str
    name: str
    """Of its files, without an ending."""
    contents: Mapping[str, Any]
    html: str
    pdf: bytes


def create_report(name: str, week: Week | None, registry: Any, language: Language = ENGLISH) -> Report:
    """The report of collection `name`.

    Args:
        week: None for the newest complete week.
        registry: `dsgo.rest_registry.RestRegistry`, or what answers like it.

    Raises:
        DSGoError: see "Fails when" above.
    """
    collection = collections.find(name)
    production = registry.load_production(collection.name)
    reviewed = review(production, issued=registry.predictions(collection.name, utc(production.trained_to)))
    if language.texts is not None:
        info = collections.translated(reviewed.info, collection.path.with_name(f"{language.code}.yaml"))
        reviewed = replace(reviewed, info=info)
    week = newest_week(reviewed) if week is None else check(week, reviewed, production)
    watched = registry.watched(collection.name, reviewed.hours(week.next)[0])
    told = describe(production, registry.promotions(collection.name), watched, reviewed, week, language)
    suffix = "" if language is ENGLISH else f"_{language.code}"
    shown = pictures(told)
    sources = {picture["name"]: data_address("image/png", picture["png"]) for picture in shown}
    small = {picture["name"]: data_address("image/svg+xml", picture["svg"].encode()) for picture in shown}
    return Report(
        collection.name, f"{collection.name}_{week}{suffix}", told, render(told, sources, small), render_pdf(told)
    )


def newest_week(reviewed: Review) -> Week:
    """The newest week with every hour forecast and recorded."""
    weeks = reviewed.complete_weeks
    if not weeks:
        raise DSGoError(
            f"No week from {_week_of(reviewed, 0)} to {_week_of(reviewed, -1)} has all its hours.",
            "Name one of them with --week: its report then counts the hours there are.",
        )
    return weeks[-1]


def check(week: Week, reviewed: Review, production: Any) -> Week:
    """Refuse a week without an hour that the model had not learned from, or without data."""
    hours = reviewed.hours(week)
    first, last = _week_of(reviewed, 0), _week_of(reviewed, -1)
    remedy = f"Choose a week from {first} to {last}."
    if not any(len(reviewed.counted(target, hours)) for target in reviewed.targets):
        in_window = hours[0] <= reviewed.window_end and reviewed.window_start <= hours[-1]
        if not in_window and utc(production.trained_from) <= hours[-1] and hours[0] <= utc(production.trained_to):
            raise DSGoError(
                f"Version {production.version} learned from week {week} ({week.words}), and its evaluated twin has not "
                "forecast it: on what a model has seen, a forecast proves nothing.",
                remedy,
            )
        raise DSGoError(f"There are no data of week {week} ({week.words}).", remedy)
    return week


def _week_of(reviewed: Review, row: int) -> Week:
    return Week.of(reviewed.table.index[row], reviewed.info["timezone"])


def render(contents: Mapping[str, Any], sources: Mapping[str, str], small_sources: Mapping[str, str]) -> str:
    """The HTML page.

    Args:
        sources: address of each picture by its name.
        small_sources: those for a phone's width; may be empty.
    """
    template = _environment().get_template("weekly.html.j2")
    return template.render(contents, sources=sources, small_sources=small_sources)


def render_text(contents: Mapping[str, Any]) -> str:
    """The first page as plain text, for mail clients that show nothing else."""
    return _environment().get_template("weekly.txt.j2").render(contents)


def render_pdf(contents: Mapping[str, Any]) -> bytes:
    """The report for paper: tagged for screen readers, no date of its making in it."""
    import typst
    from matplotlib import get_data_path

    page = _environment(typst_literal).get_template("weekly.typ.j2").render(contents)
    files = {f"{picture['name']}.svg": picture["svg"].encode() for picture in pictures(contents)}
    how = {"font_paths": [Path(get_data_path()) / "fonts" / "ttf"]}  # DejaVu: the same layout on every machine
    source = {"main": page.encode(), **files}
    for size in range(SIZES):  # what a client reads stays on one page, in smaller type if that helps
        shrunk = {"crowded": str(size)}
        if json.loads(typst.query(source, "<appendix>", field="value", sys_inputs=shrunk, **how)) == [2]:
            return typst.compile(source, format="pdf", sys_inputs=shrunk, **how)
    return typst.compile(source, format="pdf", **how)


def pictures(contents: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Every picture of the report."""
    return [target["picture"] for target in (*contents["next"]["targets"], *contents["targets"])]


def data_address(kind: str, content: bytes) -> str:
    """An address that holds the picture itself: the page then needs no other file."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def typst_literal(value: object) -> str:
    """A value as a string literal of Typst: nothing in it can become markup or code.

    A run of many characters without a space gets places where a line may end.
    """
    text = re.sub(r"\S{70,}", lambda run: "\N{ZERO WIDTH SPACE}".join(re.findall(r".{1,20}", run[0])), str(value))
    escaped = "".join(f"\\u{{{ord(sign):x}}}" if sign in '\\"' or not sign.isprintable() else sign for sign in text)
    return f'"{escaped}"'


def _environment(literal: Callable[[object], str] | None = None) -> Environment:
    """Templates whose values are escaped: by HTML's rules, or by `literal`; plain text needs none."""
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=lambda name: name is None or ".html." in name,
        finalize=literal,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def write(report: Report, folder: Path) -> list[Path]:
    """Write HTML and PDF into `folder` so that each file is either the whole new one or what it was before.

    Raises:
        DSGoError: the folder or a file cannot be written.
    """
    paths = []
    for ending, content in (("html", report.html.encode()), ("pdf", report.pdf)):
        path = folder / f"{report.name}.{ending}"
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            try:
                part.write_bytes(content)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
        except OSError as error:
            raise DSGoError(
                f"The report {path} cannot be written: {error.strerror}.", "Name another folder with --output."
            ) from error
        paths.append(path)
    return paths


def deliver(report: Report, current: settings.Settings, again: Sequence[str] = ()) -> None:
    """Send the report to each recipient who has not got that of this week, in whatever language.

    Args:
        again: addresses whose last sending was cut short, and who have not got it.

    Raises:
        MailError: not everyone has got it; all others have.
    """
    smtp, told = current.smtp, report.contents
    sources = {picture["name"]: f"cid:{picture['name']}" for picture in pictures(told)}
    parts = {
        "text": render_text(told),
        "html": render(told, sources, {}),
        "pictures": {picture["name"]: picture["png"] for picture in pictures(told)},
        "pdf": report.pdf,
    }
    failed: list[str] = []
    with outbox.opened(current.outbox) as record, contextlib.ExitStack() as stack:
        client = None
        for recipient in smtp.recipients:
            letter = outbox.Letter(report.collection, told["week"], recipient)
            if recipient in again:
                record.forget(letter)
            if known := record.find(letter):
                if known.ended:
                    print(f"sent before to {recipient}, {known.ended}", file=sys.stderr)
                else:
                    failed.append(
                        f"The sending to {recipient} was cut short, {known.began}: it may have arrived. "
                        f"Ask there; if it has not, add --again {recipient}."
                    )
                continue
            message = mail.compose(smtp, recipient, subject(told), name=report.name, **parts)
            try:
                client = client or stack.enter_context(mail.connected(smtp))
                record.begin(letter)
                mail.send(client, message)
                record.end(letter)
                print(f"sent to {recipient}", file=sys.stderr)
            except mail.NotTaken as error:
                record.forget(letter)
                failed.append(str(error))
                if client is None:
                    break
            except MailError as error:
                failed.append(f"{error} If it has not, add --again {recipient}.")
                break
    if failed:
        raise MailError(" ".join(failed))


def subject(told: Mapping[str, Any]) -> str:
    """Subject of the mail."""
    line = f"{told['title']}: {told['days']}"
    return f"{line} ({told['say']('synthetic data')})" if told["synthetic"] else line


def main(arguments: Sequence[str] | None = None, registry: Any = None) -> int:
    """Parse the command line, write the report, print its paths. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Write the weekly report of a collection as an HTML and a PDF file.")
    parser.add_argument("--collection", required=True, help="name of a folder in projects/, such as wind_solar")
    parser.add_argument("--week", help="ISO week such as 2016-W25 (default: the newest complete one)")
    parser.add_argument("--output", type=Path, help="folder for the files (default: $DSGO_HOME/reports)")
    parser.add_argument(
        "--send", action="store_true", help="send it to DSGO_SMTP_RECIPIENTS, to each at most once a week"
    )
    parser.add_argument(
        "--again",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="send to this address although an earlier attempt was cut short, since it has not arrived",
    )
    parser.add_argument("--language", choices=sorted(LANGUAGES), default="en", help="default: en")
    options = parser.parse_args(arguments)
    try:
        current = settings.load()
        if options.send:
            mail.check(current.smtp)
        if unknown := [
            address for address in options.again if not options.send or address not in current.smtp.recipients
        ]:
            raise DSGoError(
                f"--again {unknown[0]}: nothing is sent there.", "Add --send, and name one of DSGO_SMTP_RECIPIENTS."
            )
        week = None if options.week is None else Week.parse(options.week)
        language = LANGUAGES[options.language]
        report = create_report(options.collection, week, registry or RestRegistry(current), language)
        for path in reversed(write(report, options.output or current.home / "reports")):  # the page last, to be opened
            print(path)
        if options.send:
            deliver(report, current, options.again)
    except DSGoError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
