"""`python -m dsgo <command>`: what the Makefile calls. Nothing here imports MLflow before a command needs it."""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from dsgo import backup, restore, services, wheel
from dsgo.errors import BackupError, DSGoError, SourceError
from dsgo.settings import SOURCE_NAME, Settings, activate, load, prepare

INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code: 0, 1 for what the user can mend or a server that is not up, 2 for wrong usage."""
    options, rest = _parser().parse_known_args(arguments)
    if rest and options.command is not _report:
        _parser().error(f"unrecognized arguments: {' '.join(rest)}")
    options.rest = rest
    return reported(lambda: options.command(load(), options))


def reported(command: Callable[[], int | None]) -> int:
    """Run `command`; an error that the user can mend becomes one line on stderr and exit code 1, Ctrl-C becomes 130."""
    try:
        return command() or 0
    except DSGoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dsgo", description="The servers and the pipeline of DSGo.")
    commands = parser.add_subparsers(required=True, metavar="command")

    def add(command: Callable, name: str, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(command=command)
        return sub

    sub = add(_up, "up", "Start servers and wait until they answer.")
    known = ", ".join(services.SERVICES)
    sub.add_argument("names", nargs="*", metavar="name", help=f"any of {known}; default: ftp tracking")
    add(_down, "down", "Stop all servers.")
    add(_status, "status", "Show the servers; exit code 0 if all are up, else 1.")
    sub = add(_restart, "restart", "Stop one server, start it again and wait until it answers.")
    sub.add_argument("name", choices=list(services.SERVICES))
    sub = add(_serve, "serve", "Serve the Production model over REST.")
    sub.add_argument("--collection", default=services.DEFAULT_COLLECTION)
    add(_dashboard, "dashboard", "Start the dashboard.")
    add(_report, "report", "Write the weekly report; further arguments go to report/create_report.py.")
    add(_env, "env", 'Print what plain mlflow commands need: eval "$(make -s env)".')
    sub = add(_backup, "backup", "Write all artifacts and databases into one file; servers may run.")
    sub.add_argument("--to", default="", help="a new file, or a folder; default: the folder backups of the state")
    sub = add(_restore, "restore", "Replace all artifacts and databases by those of a backup; servers must be stopped.")
    sub.add_argument("file", help="a file that `backup` has written")
    for command, name, text in (
        (_run, "run", "Run all jobs of a collection, from raw data to report, dashboard and REST endpoint."),
        (_explain, "explain", "Show for each step of the jobs why it would run or be reused."),
        (_job, "predict", "Forecast what lies ahead with what is in Production, into the table of predictions."),
        (_job, "monitor", "Watch over the data and over the version in Production."),
        (_refresh, "refresh", "Predict, watch, and do what is due: learn anew, wait, or ask a person."),
    ):
        sub = add(command, name, text)
        sub.set_defaults(name=name)
        sub.add_argument("--collection", default=services.DEFAULT_COLLECTION)
        sub.add_argument(
            "--data",
            default="",
            help="a file, a URL or a source of the collection by its name; default: DSGO_DATA, or sample",
        )
        if command in (_run, _explain):
            sub.add_argument(
                "--level",
                choices=["DEV", "PROD"],
                default="PROD",
                help="DEV: what passes the gate becomes challenger only",
            )
        if command is _explain:
            sub.add_argument("--job", default="", help="only its steps: training, production or validation")
        if command is _refresh:
            sub.add_argument("--go-on", action="store_true", help="a person has looked: retrainings may begin again")
    sub = add(_rollback, "rollback", "Put back in Production what was there before the present version.")
    sub.add_argument("--collection", default=services.DEFAULT_COLLECTION)
    sub.add_argument(
        "--to", type=int, metavar="VERSION", help="a version that was in Production; default: the one before"
    )
    sub.add_argument("--reason", default="", help="why, for the ledger")
    sub = add(_ledger, "ledger", "Show what was promoted, refused, rolled back and repaired, the newest first.")
    sub.add_argument("--collection", default="", help="default: all")
    sub.add_argument("--limit", type=int, default=20, help="at most so many rows; default: 20")
    sub.add_argument("--json", action="store_true", help="all columns, rules and figures too, as JSON")
    sub = add(_predictions, "predictions", "Print the newest forecast of each target and hour as CSV.")
    sub.add_argument("--collection", default=services.DEFAULT_COLLECTION)
    sub = add(_tune, "tune", "Search for better settings of the training steps on the newest dataset.")
    sub.add_argument("--collection", default=services.DEFAULT_COLLECTION)
    sub.add_argument("--step", action="append", default=[], help="a training step, can be given again; default: all")
    sub.add_argument("--trials", type=int, default=20, help="settings to try for each step; default: 20")
    sub.add_argument("--timeout-s", type=float, default=3600.0, help="seconds for each step; default: 3600")
    sub.add_argument("--seed", type=int, default=42, help="default: 42")
    return parser


def _up(settings: Settings, options: argparse.Namespace) -> None:
    names = options.names or ("ftp", "tracking")
    if _users(names):
        services.up(settings)
        _agree(settings)
    services.up(settings, names, _say)
    if "tracking" in names and not _users(names):
        _agree(settings)
    wheel.build(settings)


def _down(settings: Settings, options: argparse.Namespace) -> None:
    services.down(settings)
    _say("All servers are stopped.")


def _status(settings: Settings, options: argparse.Namespace) -> int:
    rows = services.status(settings)
    table = [("service", "state", "address", "pid", "uptime", "serves")]
    table += [(r.name, r.state, r.address, str(r.pid or "-"), duration(r.uptime), r.detail or "-") for r in rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    for row in table:
        _say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    from dsgo import actions

    for name, question in actions.questions().items():
        _say(f"\n{name} asks a person since {question.time:%Y-%m-%d %H:%M} UTC: {question.reason}")
        _say(actions.remedy(question))
    return 0 if all(row.state == "up" for row in rows) else 1


def _restart(settings: Settings, options: argparse.Namespace) -> None:
    if _users([options.name]):
        services.up(settings)
        _agree(settings)
    services.restart(settings, options.name, _say)


def _serve(settings: Settings, options: argparse.Namespace) -> None:
    services.check_collection(settings, options.collection)
    services.up(settings)
    _agree(settings)
    version = services.serve(settings, options.collection, _say)
    _say(f"{options.collection} version {version} answers at {settings.serve_url}/invocations")


def _dashboard(settings: Settings, options: argparse.Namespace) -> None:
    services.up(settings)
    _agree(settings)
    services.up(settings, ("dashboard",), _say)


def _report(settings: Settings, options: argparse.Namespace) -> int:
    services.up(settings)
    _agree(settings)
    script = settings.checkout / "report" / "create_report.py"
    return subprocess.run(
        [sys.executable, str(script), *options.rest], env={**os.environ, **settings.child_environment()}, check=False
    ).returncode


def _env(settings: Settings, options: argparse.Namespace) -> None:
    settings = prepare(settings)
    wheel.build(settings)
    here = str(Path(sys.executable).parent)
    others = [folder for folder in os.environ.get("PATH", os.defpath).split(os.pathsep) if folder != here]
    for name, value in {**settings.child_environment(), "PATH": os.pathsep.join([here, *others])}.items():
        _say(f"export {name}={shlex.quote(value)}")


def _backup(settings: Settings, options: argparse.Namespace) -> None:
    backup.backup(settings, Path(options.to).expanduser().absolute() if options.to else None, _say)


def _restore(settings: Settings, options: argparse.Namespace) -> None:
    if not options.file:
        raise BackupError("FROM", "names no file.", f"Backups usually lie in {settings.backups}.")
    restore.restore(settings, Path(options.file).expanduser().absolute(), _say)


def _run(settings: Settings, options: argparse.Namespace) -> int | None:
    settings, asked = _asked(settings, options)
    from dsgo import pipeline  # MLflow takes seconds to import: first refuse what can be refused

    return pipeline.run(settings, **asked, level=options.level)


def _job(settings: Settings, options: argparse.Namespace) -> int:
    settings, asked = _asked(settings, options)
    from dsgo import pipeline

    return pipeline.run_job(settings, **asked, job={"predict": "production", "monitor": "validation"}[options.name])


def _refresh(settings: Settings, options: argparse.Namespace) -> int:
    settings, asked = _asked(settings, options)
    from dsgo import pipeline

    return pipeline.refresh(settings, **asked, go_on=options.go_on)


def _asked(settings: Settings, options: argparse.Namespace) -> tuple[Settings, dict[str, str]]:
    """The settings with the command's name, and which collection and raw data are meant."""
    services.check_collection(settings, options.collection)
    data = resolved_source(options.data or settings.data)
    settings = dataclasses.replace(settings, asked_by=f"make {options.name}")
    return settings, {"collection": options.collection, "data": data}


def _rollback(settings: Settings, options: argparse.Namespace) -> None:
    services.check_collection(settings, options.collection)
    settings = dataclasses.replace(services.up(settings), asked_by="make rollback")
    activate(settings)
    from dsgo import ledger, promotion

    for sentence in promotion.repair(options.collection):
        _say(sentence)
    version = promotion.rollback(
        options.collection, to_version=options.to, reason=options.reason, asked_by=ledger.asked_by()
    )
    _say(f"{options.collection} version {version.version} is in Production again.")
    services.follow(settings, options.collection, _say)


def _ledger(settings: Settings, options: argparse.Namespace) -> None:
    from dsgo import ledger

    entries = ledger.entries(options.collection or None, options.limit)
    if options.collection and not len(entries):  # a misspelt one has no rows either
        services.check_collection(settings, options.collection)
    if options.json:
        _say(entries.to_json(orient="records", date_format="iso", indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("time (UTC)", "collection", "what", "version", "in place of", "level", "why", "asked by")
    for row in entries.itertuples():
        what = row.action if row.state == ledger.DONE else f"{row.action}, {row.state}"
        numbers = [str(number).replace("<NA>", "") for number in (row.version, row.replaced)]
        table.add_row(
            f"{row.time:%Y-%m-%d %H:%M:%S}", row.collection, what, *numbers, row.level, row.reason, row.asked_by
        )
    Console(width=None if sys.stdout.isatty() else 160).print(table if len(entries) else "The ledger has no row yet.")


def _users(names: Sequence[str]) -> list[str]:
    """Those of the services that use what is in Production."""
    return [name for name in names if name in services.SERVICES and services.SERVICES[name].needs]


def _agree(settings: Settings) -> None:
    """Finish what a kill has interrupted, and put right what differs from the ledger, before anyone looks at it."""
    wrong = services.out_of_order(settings)
    if not wrong:
        return
    activate(dataclasses.replace(settings, asked_by="repair at start"))
    from dsgo import promotion

    for collection in wrong:
        for sentence in promotion.repair(collection):
            _say(sentence)
        services.follow(settings, collection, _say)


def _explain(settings: Settings, options: argparse.Namespace) -> int:
    _, asked = _asked(settings, options)
    from dsgo import pipeline

    return pipeline.explain(settings, **asked, level=options.level, job=options.job)


def _predictions(settings: Settings, options: argparse.Namespace) -> None:
    from dsgo import predictions

    rows = predictions.newest(options.collection)
    if rows.empty:  # a misspelt one has no rows either
        services.check_collection(settings, options.collection)
    rows.to_csv(sys.stdout, index=False)


def _tune(settings: Settings, options: argparse.Namespace) -> None:
    services.check_collection(settings, options.collection)
    activate(services.up(settings))
    from dsgo import collection, tuned

    parameters = {name: str(getattr(options, name)) for name in ("trials", "timeout_s", "seed")}
    tuned.tune(collection.find(options.collection, settings.checkout), options.step, parameters)


def resolved_source(data: str) -> str:
    """`data` as the pipeline takes it: a source's name or a URL as it is, a file as an absolute path.

    Which names there are only the collection's `process_data` knows: it refuses others. A file without an ending is
    told from a name by its folder, `./table`.

    Raises:
        SourceError: it is none of them.
    """
    if SOURCE_NAME.fullmatch(data) or "://" in data:
        return data
    path = Path(data).expanduser().absolute()
    if not path.is_file():
        raise SourceError(
            data,
            "is a folder, not a file." if path.is_dir() else f"there is no such file ({path}).",
            "Give a CSV file, a URL or a source of the collection by its name, such as sample.",
        )
    return str(path)


def duration(seconds: float | None) -> str:
    """A span of time for a table: `42s`, `3m 07s`, `5h 12m`, `2d 03h`; `-` for None."""
    if seconds is None:
        return "-"
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d {hour:02}h"
    if hours:
        return f"{hours}h {minute:02}m"
    return f"{minutes}m {second:02}s" if minutes else f"{second}s"


def _say(line: str) -> None:
    print(line, flush=True)
