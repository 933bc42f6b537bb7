"""The dashboard: what is in Production, how it does, and what else was tried.

Reads: `projects/*/collection.yaml`, and what `system.System` asks of registry, runs, ledger and servers, again and again in
the background.
Writes: nothing. Serves `http://127.0.0.1:$DSGO_DASHBOARD_PORT`.
Fails when: its port is taken. A registry that is down or empty is shown as a sentence, until it is back.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import sys
import threading
from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, quote

import dash_mantine_components as dmc
import security
from board import Board
from dash import Dash, Input, Output, State, dcc, html
from dash.exceptions import PreventUpdate
from latest import Reading
from pages import explore, health, models, now
from parts import THEME, sentence
from system import System

from dsgo import settings
from dsgo.collection import Collection
from dsgo.errors import DSGoError, ServiceError
from dsgo.settings import Settings

PAGES = {page.PATH: page for page in (now, explore, models, health)}
RECHECK = 12.0  # seconds between two questions to the registry; with TICK twice and a load, a promotion shows within 30
TICK = 4.0  # seconds between two questions of a browser to the dashboard
TICK_LOADING = 1.0  # the same until there is something to show
THREADS = 8
BODIES_KEPT = 32
log = logging.getLogger("dashboard")

# Before anything is drawn: the colours that the reader has chosen, else the system's. A white flash in the dark hurts.
SCHEME = """
const chosen = localStorage.getItem("mantine-color-scheme-value");
const dark = matchMedia("(prefers-color-scheme: dark)").matches;
document.documentElement.setAttribute(
  "data-mantine-color-scheme", chosen === "dark" || (chosen !== "light" && dark) ? "dark" : "light");
"""
INDEX = f"""<!DOCTYPE html>
<html lang="en">
<head>{{%metas%}}<title>{{%title%}}</title>{{%favicon%}}{{%css%}}<script>{SCHEME}</script></head>
<body>
<noscript>The dashboard needs JavaScript.</noscript>
{{%app_entry%}}
<footer>{{%config%}}{{%scripts%}}{{%renderer%}}</footer>
</body>
</html>"""
# Says in words when the dashboard itself does not answer; the page stays as it is meanwhile.
ASK_WHETHER_IT_RUNS = """async () => {
  try {
    if ((await fetch("/ping", {cache: "no-store"})).ok) { return ""; }
  } catch (error) { /* no connection */ }
  return "The dashboard’s server does not answer. This page shows what it said last, and keeps trying.";
}"""
GO_TO_COLLECTION = """(value, stamp) => {
  if (!value || !stamp || value === stamp.collection) { return; }
  dash_clientside.set_props("location", {search: "?collection=" + encodeURIComponent(value)});
}"""


def create_app(current: Settings, system: Any = None, *, recheck: float = RECHECK, tick: float = TICK) -> Dash:
    """The application, not yet served. Connects nowhere before the first browser asks.

    Args:
        system: what answers like `system.System`; that of `current` by default.
        recheck: seconds between two questions to the system.
        tick: seconds between two questions of an open browser.
    """
    board = Board(current, System(current) if system is None else system, recheck)
    # A browser drops an answer when it has asked again meanwhile. So each page is drawn once, and then answers at once:
    # on a slow machine, drawing for every question would never show anything.
    drawn: OrderedDict[tuple[str, ...], tuple[str, Any]] = OrderedDict()
    drawing = threading.Lock()
    start = secrets.token_hex(4)  # a restarted server must not look unchanged to an open browser
    app = Dash(
        "dashboard",
        assets_folder=str(settings.CHECKOUT / "dashboard" / "assets"),
        title="DSGo",
        update_title="",
        index_string=INDEX,
        serve_locally=True,
        suppress_callback_exceptions=True,  # the controls of a page are there only while it is shown
        meta_tags=[{"name": "viewport", "content": "width=device-width, initial-scale=1"}],
        enable_mcp=False,
    )
    app.layout = dmc.MantineProvider(
        [
            dcc.Location(id="location", refresh="callback-nav"),
            dcc.Interval(id="tick", interval=TICK_LOADING * 1000),
            dcc.Store(id="stamp"),
            dcc.Store(id="screen"),
            html.A("Skip to content", href="#body", className="skip"),
            html.Header(
                [
                    html.A("DSGo", href="/", className="brand"),
                    html.Nav(id="navigation", className="pages", **{"aria-label": "Pages"}),
                    dmc.Select(
                        id="collection",
                        data=[{"value": name, "label": name.replace("_", " ")} for name in board.collections],
                        allowDeselect=False,
                        size="sm",
                        className="collections",
                        **{"aria-label": "Collection"},
                    ),
                    dmc.ColorSchemeToggle(
                        lightIcon="☀",
                        darkIcon="☾",
                        variant="default",
                        size="lg",
                        **{"aria-label": "Light or dark"},
                    ),
                ]
            ),
            html.Div(id="offline", role="status"),
            html.Div(id="banner", role="status"),
            html.Main(loading(), id="body", tabIndex=-1),
        ],
        theme=THEME,
        defaultColorScheme="auto",
    )

    @app.callback(
        Output("body", "children"),
        Output("banner", "children"),
        Output("navigation", "children"),
        Output("collection", "value"),
        Output("tick", "interval"),
        Output("stamp", "data"),
        Input("location", "pathname"),
        Input("location", "search"),
        Input("tick", "n_intervals"),
        State("stamp", "data"),
    )
    def show(path: str | None, search: str | None, _: int | None, stamp: dict[str, str] | None) -> tuple[Any, ...]:
        path = path or "/"
        collection = chosen(search, board)
        page = PAGES.get(path)
        query = {name: parts[0] for name, parts in parse_qs((search or "").lstrip("?")).items()}
        query = {name: query[name] for name in (page.QUERY if page else ()) if name in query}
        readings = read(page, collection, query, board)
        today = datetime.now(UTC).date()  # ages in words change by the day
        name = f"{page.NAME if page else 'No such page'} · {collection or 'DSGo'}"
        key = (path, str(collection), str(query))
        changes = ".".join(str(reading.changes) for reading in readings.values())
        fresh = {"of": f"{start} {key} {changes} {today}", "title": f"{name} · DSGo", "collection": collection}
        if stamp == fresh:
            raise PreventUpdate
        waiting = any(reading.value is None and reading.error is None for reading in readings.values())
        with drawing:
            body = drawn.get(key)
            if body is None or body[0] != fresh["of"]:
                body = (fresh["of"], content(page, collection, readings, board, query))
            drawn[key] = body
            drawn.move_to_end(key)
            while len(drawn) > BODIES_KEPT:
                drawn.popitem(last=False)
        return (
            body[1],
            banner(readings),
            navigation(path, collection),
            collection if collection in board.collections else None,
            (min(TICK_LOADING, tick) if waiting else tick) * 1000,
            fresh,
        )

    app.clientside_callback(
        "(stamp) => { if (stamp) { document.title = stamp.title; } }",
        Input("stamp", "data"),
    )
    app.clientside_callback(GO_TO_COLLECTION, Input("collection", "value"), State("stamp", "data"))
    app.clientside_callback(ASK_WHETHER_IT_RUNS, Output("offline", "children"), Input("tick", "n_intervals"))
    # Points that the screen can show, in steps: the server need not know the reader's window to the pixel.
    app.clientside_callback(
        "() => Math.ceil(window.innerWidth / 200) * 200", Output("screen", "data"), Input("location", "pathname")
    )
    explore.install(app, board)
    health.install(app, board)
    security.protect(app, current, SCHEME)
    return app


def chosen(search: str | None, board: Board) -> str | None:
    """The collection that the address names, else the board's own choice."""
    named = parse_qs((search or "").lstrip("?")).get("collection")
    return named[0] if named else board.default()


def read(page: Any, collection: str | None, query: Mapping[str, str], board: Board) -> dict[str, Reading]:
    """What is known now of all that a page shows; the first is what it cannot do without."""
    if page is None or collection not in board.production:
        return {}
    readings = {name: source.read() for name, source in page.sources(board, collection).items()}
    if hasattr(page, "more_sources"):
        values = {name: reading.value for name, reading in readings.items()}
        more = page.more_sources(values, board, collection, query)
        readings |= {name: source.read() for name, source in more.items()}
    return readings


def loading() -> list[Any]:
    """What is shown until there is something to show."""
    grey = [dmc.Skeleton(height=height, mt=16) for height in (36, 92, 300)]
    return [html.P("Loading …", className="sentence"), *grey]


def content(
    page: Any,
    collection: str | None,
    readings: Mapping[str, Reading],
    board: Board,
    query: Mapping[str, str],
) -> Any:
    """The body of a page, or the sentence that says why there is none."""
    known = board.collections.get(collection)
    if page is None:
        return sentence("There is no such page.")
    if collection is None:
        return sentence("There is no collection yet: none has a projects/<name>/collection.yaml.")
    if known is None:
        return sentence(f"There is no collection {collection!r}.")
    if not isinstance(known, Collection):
        return sentence(str(known))
    needed = next(iter(readings.values()))
    if needed.value is None:
        rest = loading()
        if needed.error is not None:
            values = {name: reading.value for name, reading in readings.items()}
            rest = [
                sentence("Nothing to show yet."),
                *(page.without(values, known) if hasattr(page, "without") else []),
            ]
        return [html.H1(known.title), *rest]
    try:
        return page.body({name: reading.value for name, reading in readings.items()}, known, board, query)
    except Exception:  # of a page, never blank: say so, and log what happened
        log.exception("The page %s of %s cannot be drawn", page.NAME, collection)
        return sentence("This page cannot be drawn. The dashboard’s log says why.")


def banner(readings: Mapping[str, Reading]) -> list[Any]:
    """Says that what is shown may be old; nothing when it is not."""
    failed: dict[str, datetime | None] = {}  # what happened, and from when the oldest of what is shown is
    for reading in readings.values():
        if reading.error is not None:
            reason = why(reading.error)
            times = [time for time in (failed.get(reason), reading.at) if time is not None]
            failed[reason] = min(times, default=None)
    words = []
    for reason, at in failed.items():
        shown = f" Shown is what it said at {at:%H:%M} UTC on {at.day} {at:%B %Y}." if at else ""
        words.append(html.P(f"{reason}{shown} The dashboard keeps trying.", className="banner"))
    return words


def why(error: Exception) -> str:
    """Why a question failed, for a reader; what an unknown error says may be nobody's business."""
    if isinstance(error, DSGoError):
        return str(error)
    if isinstance(error, TimeoutError):
        return "The registry does not answer."
    return f"The registry cannot be read ({type(error).__name__}; the dashboard’s log says more)."


def navigation(path: str, collection: str | None) -> list[Any]:
    """Links to the pages, each keeping the collection."""
    query = f"?collection={quote(collection)}" if collection else ""
    return [
        dcc.Link(
            page.NAME,
            href=to + query,
            className="here" if to == path else "",
        )
        for to, page in PAGES.items()
    ]


def listen(app: Dash, port: int, host: str = settings.HOST) -> Any:
    """A server of `app`, bound to `port`, of the loopback address by default; `run()` serves, `close()` ends it.

    Raises:
        ServiceError: the port is taken or may not be used.
    """
    from waitress import create_server

    try:
        return create_server(app.server, host=host, port=port, threads=THREADS, ident=None)
    except OSError as error:
        taken = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
        raise ServiceError(
            "dashboard", f"port {port} {taken}.", "Set DSGO_DASHBOARD_PORT to a free one, or stop what uses it."
        ) from error


def main() -> int:
    """Serve until stopped. Returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        current = settings.load()
        # A server that is down is noticed at once and asked again soon: long retries would only delay the banner.
        os.environ.update(current.child_environment())
        os.environ.update(MLFLOW_HTTP_REQUEST_MAX_RETRIES="1", MLFLOW_HTTP_REQUEST_TIMEOUT="10")
        server = listen(create_app(current), current.dashboard_port, current.dashboard_host)
    except DSGoError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    log.info("Dashboard at %s", current.dashboard_url)
    server.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
