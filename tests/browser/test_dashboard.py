"""The dashboard in a real browser, served as in production, with a stand-in for the registry."""

import base64
import contextlib
import copy
import io
import re
import threading
from urllib.parse import parse_qs, quote, urlsplit

import app as dashboard
import numpy as np
import pandas as pd
import pytest
import requests
import yaml
from axe_playwright_python.sync_playwright import Axe
from mlflow.tracking import MlflowClient
from pages import explore
from playwright.sync_api import expect
from standins import (
    DEMAND,
    INFO,
    Production,
    Registry,
    make_actions,
    make_demand,
    make_finding,
    make_findings,
    make_importance,
    make_ledger,
    make_pipelines,
    make_predictions,
    make_regimes,
    make_services,
    make_table,
)

from dsgo import collection, daemon, findings, services, tags
from dsgo.errors import DatabaseError, RegistryError
from dsgo.settings import CHECKOUT, Settings

SCRIPT = "<script>window.hacked = true</script><img src=x onerror='window.hacked = true'>"
HOSTILE = "<b>hostile & co"
DESKTOP = {"viewport": {"width": 1200, "height": 900}}
WAIT = 60_000  # milliseconds; two slow cores shared with other tests
expect.set_options(timeout=WAIT)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A tree with the collections wind_solar, one with hostile names, and one whose file is broken."""
    root = tmp_path_factory.mktemp("checkout")
    text = (CHECKOUT / "projects" / "wind_solar" / "collection.yaml").read_text(encoding="utf-8")
    hostile = yaml.safe_load(text)
    hostile |= {"name": HOSTILE, "title": SCRIPT}
    hostile["dataset"]["columns"]["wind_GW"] |= {"description": SCRIPT, "unit": SCRIPT}
    contents = {"wind_solar": text, HOSTILE: yaml.safe_dump(hostile), "zz_broken": "name: [unclosed"}
    for name, content in contents.items():
        (root / "projects" / name).mkdir(parents=True)
        (root / "projects" / name / "collection.yaml").write_text(content, encoding="utf-8")
    return root


@contextlib.contextmanager
def serving(registry, checkout, home, port=0, **changes):
    """The address of a dashboard of its own that shows `registry`."""
    settings = Settings(home=home, checkout=checkout, **{"tracking_port": 5999} | changes)
    server = dashboard.listen(dashboard.create_app(settings, registry, recheck=0.2, tick=0.3), port)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.effective_port}"
    finally:
        server.task_dispatcher.shutdown()
        # The loop may wake for a task that has just ended, close, and take with it what it would have been woken by.
        with contextlib.suppress(OSError):
            server.trigger.pull_trigger(lambda: close(server))
        thread.join(20)
        assert not thread.is_alive()


def close(server):
    """End the server's loop, from within it; a channel's own close leaves its buffers' temporary files open."""
    for channel in list(server.active_channels.values()):
        channel.handle_close()
    server.asyncore.close_all(server._map)


@pytest.fixture(scope="module")
def served(checkout, tmp_path_factory):
    """The stand-in registry and the address of the dashboard that shows it."""
    registry = Registry()
    with serving(registry, checkout, tmp_path_factory.mktemp("home")) as address:
        yield registry, address


@pytest.fixture
def registry(served):
    """A loaded system: a version in Production, and a leaderboard."""
    registry, _ = served
    registry.productions = {"wind_solar": Production()}
    registry.boards = {"wind_solar": leaderboard()}
    registry.ledgers = {"wind_solar": make_ledger()}
    registry.runs = {"wind_solar": make_pipelines()}
    registry.evaluations = {}
    registry.servers = make_services()
    registry.checks, registry.decisions, registry.remedies, registry.issued = {}, {}, {}, {}
    registry.lines = {}
    return registry


def leaderboard():
    rows = []
    for place, model in enumerate(("gradient_boosting", "linear_regression", "naive")):
        trained = model != "naive"
        row = {
            "model": model,
            "run_id": f"{place}abcdef0123456789abcdef012345678" if trained else None,
            "version": 3 if place == 0 else None,
            "stage": "Production" if place == 0 else None,
            "experiment_id": "7" if trained else None,
        }
        for target in ("solar_GW", "wind_GW"):
            row[f"backtest.{target}.rmse"] = 1.234 + place
            row[f"window.{target}.rmse"] = 1.5 + place
            row[f"window.{target}.mae"] = 0.9 + place
            row[f"window.{target}.skill"] = 0.5 - 0.25 * place
            row[f"window.{target}.coverage80"] = 0.8 if trained else np.nan
        rows.append(row)
    return pd.DataFrame(rows)


class Visit:
    """A browser's page, what went wrong on it, and what it asked for."""

    def __init__(self, page, base):
        self.page, self.base = page, base
        self.faults, self.requests = [], []
        page.on("console", lambda message: self.faults.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.set_default_timeout(WAIT)

    def go(self, path="/", collection="wind_solar", more=""):
        self.page.goto(f"{self.base}{path}?collection={quote(collection)}{more}")
        return self.page

    def check(self):
        """Nothing failed, and nothing came from anywhere else."""
        assert self.faults == []
        assert [url for url in self.requests if not url.startswith((self.base, "data:", "blob:"))] == []


@pytest.fixture(params=[DESKTOP], ids=["desktop"])
def visit(request, browser, served, registry):
    context = browser.new_context(**request.param)
    visit = Visit(context.new_page(), served[1])
    yield visit
    context.close()
    visit.check()


PHONE = pytest.mark.parametrize("visit", [{"viewport": {"width": 390, "height": 844}}], ids=["phone"], indirect=True)
EVERYWHERE = pytest.mark.parametrize("path", list(dashboard.PAGES))


def body(page):
    return page.locator("#body")


def drawn(page, path):
    """Wait until the whole page is there."""
    shows(
        page, {"/": "Scores of these days", "/models": "Ledger", "/health": "repaired", "/explore": "Each point"}[path]
    )
    expect(page.locator(".js-plotly-plot .main-svg").first).to_be_visible()


def shows(page, *words, where="#body"):
    for word in words:
        expect(page.locator(where)).to_contain_text(word)


def test_now_shows_forecast_interval_and_recorded_with_unit_and_version(visit):
    page = visit.go()
    shows(
        page,
        "Version 3 (gradient boosting)",
        "since 4 July 2016, 12:03 UTC",
        "Friday 24 June 2016, 02:00 to Friday 1 July 2016, 01:00 (Europe/Berlin)",
        "evaluated twin of version 3",
        "naive baseline’s",
    )
    expect(page.locator(".js-plotly-plot")).to_have_count(2)
    for graph in page.locator(".js-plotly-plot").all():
        expect(graph.locator(".scatterlayer .trace")).to_have_count(3)
        expect(graph.locator(".ytitle")).to_have_text("GW")
        expect(graph.locator(".legendtext")).to_have_text(["80 % interval", "Forecast", "Recorded"])
    shows(page, "Recorded data", "Version 3, recorded data, 24 June 2016")
    assert "synthetic" not in body(page).inner_text().lower()
    numbers = page.locator("td").all_inner_texts()
    assert len(numbers) == 10 and all(re.search(r"\d\s(GW|%)", number) for number in numbers)
    assert page.title() == "Now · wind_solar · DSGo"


def test_hovering_a_curve_tells_the_values_with_their_unit(visit):
    page = visit.go()
    plot = page.locator(".js-plotly-plot .nsewdrag").first
    plot.hover()
    shows(page, "Forecast", "Recorded", where=".hoverlayer >> nth=0")
    assert re.search(r"Forecast : .*GW \(.*GW to .*GW\)", page.locator(".hoverlayer").first.text_content())


def test_models_show_every_candidate_beside_the_naive_baseline(visit):
    page = visit.go()
    page.get_by_role("link", name="Models").click()
    shows(page, "gradient boosting", "linear regression", "naive", "the value 24 hours earlier")
    expect(page.locator("tr.produced")).to_have_count(2)
    expect(page.locator("tr.produced").first).to_contain_text("Production")
    cells = page.locator("tr.produced").first.locator("td").all_inner_texts()
    assert [cell.replace("\N{NO-BREAK SPACE}", " ") for cell in cells[1:5]] == [
        "1.23 GW",
        "1.50 GW",
        "0.900 GW",
        "50 %",
    ]
    link = page.locator("tr.produced a").first
    expect(link).to_have_attribute("title", re.compile("tracking UI"))
    assert link.get_attribute("href") == ("http://127.0.0.1:5999/#/experiments/7/runs/0abcdef0123456789abcdef012345678")
    expect(page.locator("td a")).to_have_count(4)
    expect(page.get_by_role("link", name="All versions in the tracking UI")).to_have_attribute(
        "href", "http://127.0.0.1:5999/#/models/wind_solar"
    )
    assert page.title() == "Models · wind_solar · DSGo"
    assert "collection=wind_solar" in page.url


def test_runs_are_not_linked_where_their_experiment_is_unknown(visit, registry):
    registry.boards["wind_solar"] = leaderboard().drop(columns="experiment_id")
    page = visit.go("/models")
    shows(page, "0abcdef0")
    expect(page.locator("td a")).to_have_count(0)


@PHONE
@EVERYWHERE
def test_a_phone_scrolls_only_downwards(visit, path):
    page = visit.go(path)
    drawn(page, path)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_promotion_shows_without_a_reload(visit, registry):
    page = visit.go()
    shows(page, "Version 3 (gradient boosting)")
    page.evaluate("window.sameDocument = true")
    registry.productions["wind_solar"] = Production(version="4", step="random_forest", run_id="f" * 32)
    shows(page, "Version 4 (random forest)", "twin of version 4")
    assert page.evaluate("window.sameDocument") is True
    assert dashboard.RECHECK + 2 * dashboard.TICK <= 25, "with real pauses: within 30 s, with 5 s to load"


def test_a_registry_that_is_down_leaves_the_last_good_data_with_a_banner_and_recovers(visit, registry):
    page = visit.go()
    shows(page, "Version 3")
    good = registry.productions["wind_solar"]
    registry.productions["wind_solar"] = RegistryError("The tracking server is down.")
    shows(page, "The tracking server is down. Shown is what it said at", where="#banner")
    shows(page, "Version 3")
    expect(page.locator(".js-plotly-plot")).to_have_count(2)
    registry.productions["wind_solar"] = RuntimeError("inner secret")
    shows(page, "The registry cannot be read (RuntimeError", where="#banner")
    assert "inner secret" not in page.content()
    registry.productions["wind_solar"] = good
    expect(page.locator("#banner")).to_have_text("")
    shows(page, "Version 3")


def test_a_system_without_a_model_says_so_and_shows_the_first_promotion(visit, registry):
    registry.productions = {}
    registry.boards = {}
    page = visit.go()
    shows(page, "No model of the collection 'wind_solar' is in Production yet.")
    page.get_by_role("link", name="Models").click()
    shows(page, "No candidate has been trained yet.")
    page.get_by_role("link", name="Now").click()
    registry.productions["wind_solar"] = Production()
    shows(page, "Version 3")


def test_synthetic_data_are_called_synthetic(visit, registry):
    registry.productions["wind_solar"] = Production(info={**INFO, "synthetic": True}, version="5")
    shows(visit.go(), "Synthetic data", "Version 5, synthetic data")


def test_gaps_and_absent_values_are_drawn(visit, registry):
    table = make_table()
    table.loc["2016-06-27":"2016-06-28", "wind_GW"] = np.nan
    registry.productions["wind_solar"] = Production(table=table, version="6")
    page = visit.go()
    shows(page, "Version 6", "168 h counted")
    expect(page.locator(".js-plotly-plot")).to_have_count(2)


def test_hostile_names_stay_text(visit, registry):
    info = copy.deepcopy(INFO)
    info |= {"collection": HOSTILE, "title": SCRIPT}
    info["columns"]["wind_GW"] |= {"description": SCRIPT, "unit": SCRIPT}
    info["repairs"] = [{"fault": SCRIPT, "count": 1, "first": SCRIPT, "handling": "ß→語" + "x" * 3000}]
    registry.runs[HOSTILE] = make_pipelines("FAILED")
    registry.runs[HOSTILE][0]["steps"][1]["step"] = SCRIPT
    registry.ledgers[HOSTILE] = make_ledger(reason=SCRIPT + "x" * 3000, asked_by=SCRIPT, action=SCRIPT)
    registry.servers = [*make_services(), *make_services(ftp=SCRIPT)[:1]]
    registry.productions[HOSTILE] = Production(info=info, step=SCRIPT, version=SCRIPT)
    board = leaderboard()
    board["model"], board["version"], board["run_id"] = SCRIPT, SCRIPT, '"><script>window.hacked = true</script>'
    registry.boards[HOSTILE] = board
    page = visit.go(collection=HOSTILE)
    shows(page, f"Version {SCRIPT}")
    expect(page.locator(".js-plotly-plot").nth(1).locator(".ytitle")).to_have_text(SCRIPT)
    page.locator(".js-plotly-plot .nsewdrag").nth(1).hover()
    page.get_by_role("link", name="Models").click()
    shows(page, "window.hacked")
    expect(page.locator("#collection")).to_have_value(HOSTILE)
    page.get_by_role("link", name="Health").click()
    shows(page, SCRIPT, "Recorded values of each month")
    page.get_by_role("link", name="Explore").click()
    shows(page, "Each point", SCRIPT)
    expect(page.locator(".js-plotly-plot .ytitle, .js-plotly-plot .y2title").last).to_contain_text("<script>")
    assert page.evaluate("window.hacked") is None
    assert page.locator("#body script, #body img, header b").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 1200, "a very long name widens nothing"


@pytest.mark.parametrize(
    ("path", "collection", "words"),
    [
        ("/nowhere", "wind_solar", "There is no such page."),
        ("/", "moon<b>", "There is no collection 'moon<b>'."),
        ("/", "zz_broken", "is no valid YAML"),
    ],
)
def test_what_is_not_there_is_said_in_a_sentence(visit, path, collection, words):
    page = visit.go(path, collection)
    shows(page, words)
    page.locator("#collection").click()
    page.get_by_role("option", name="wind solar").click()
    if path == "/nowhere":
        page.get_by_role("link", name="Now").click()
    shows(page, "Version 3")


def test_a_page_that_cannot_be_drawn_is_a_sentence(visit, registry):
    info = copy.deepcopy(INFO)
    del info["naive"]
    registry.productions["wind_solar"] = Production(info=info, version="7")
    shows(visit.go(), "This page cannot be drawn.")


def test_an_answer_slower_than_the_pause_between_questions_still_shows(visit, registry, monkeypatch):
    registry.productions["wind_solar"] = Production(version="8")
    quick, slow = dashboard.PAGES["/"].body, threading.Event()

    def body(*arguments):
        slow.wait(2)  # never set: a machine that needs two seconds where the browser asks three times a second
        return quick(*arguments)

    monkeypatch.setattr(dashboard.PAGES["/"], "body", body)
    shows(visit.go(), "Version 8")


def test_an_open_page_outlives_a_restart_of_the_dashboard(browser, checkout, tmp_path, free_ports):
    (port,) = free_ports(1)
    with contextlib.closing(browser.new_context()) as context:
        page = context.new_page()
        page.set_default_timeout(WAIT)
        with serving(Registry(wind_solar=Production()), checkout, tmp_path, port) as address:
            page.goto(f"{address}/?collection=wind_solar")
            shows(page, "Version 3")
            page.evaluate("window.sameDocument = true")
        with page.expect_event("requestfailed"):
            pass
        shows(page, "Version 3")
        with serving(Registry(wind_solar=Production(version="9")), checkout, tmp_path, port):
            shows(page, "Version 9")
            assert page.evaluate("window.sameDocument") is True


def test_pages_can_be_used_by_keyboard(visit):
    page = visit.go()
    shows(page, "Version 3")
    names = []
    for _ in range(8):
        page.keyboard.press("Tab")
        names.append(
            page.evaluate("document.activeElement.textContent || document.activeElement.getAttribute('aria-label')")
        )
    assert names[:7] == ["Skip to content", "DSGo", "Now", "Explore", "Models", "Health", "Collection"]
    page.locator("nav.pages a", has_text="Models").focus()
    page.keyboard.press("Enter")
    shows(page, "Back-test")
    page.get_by_role("button", name="solar_GW by season").focus()
    expect(page.get_by_text("solar_GW by season: window").first).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.get_by_text("solar_GW by season: window").first).to_be_hidden()
    page.locator("#collection").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    shows(page, "No candidate has been trained yet.")


def test_lights_say_how_old_everything_is(visit):
    page = visit.go()
    shows(page, "Newest value", "days ago", "Learned from", "4 of 4 up")
    lights = page.locator(".card .light").all_inner_texts()
    assert lights == ["■ old", "■ old", "■ old", "● fresh"]
    shows(page, "Nothing needs attention.")


def test_what_needs_attention_is_listed(visit, registry):
    table = make_table()
    table.loc["2016-06-30", "wind_GW"] = np.nan
    registry.productions["wind_solar"] = Production(table=table, version="6")
    registry.servers = make_services(serve="failed")
    registry.runs["wind_solar"] = make_pipelines("FAILED")
    registry.ledgers["wind_solar"] = make_ledger()[1:]
    page = visit.go()
    shows(
        page,
        "wind_GW: 24 of the newest 168 time stamps cannot be scored.",
        "The server serve is failed.",
        "ended as failed in gradient_boosting.",
        "The newest candidate was refused on 1 July 2016, 08:00 UTC: wind_GW: no better than the champion",
        "3 of 4 up",
    )


def test_models_show_where_each_run_can_be_trusted(visit, registry):
    page = visit.go("/models")
    shows(page, "Where gradient boosting can be trusted", "solar_GW by season: window, errors in GW")
    row = page.locator("tr", has=page.get_by_role("rowheader", name="summer")).first
    cells = [cell.replace("\N{NO-BREAK SPACE}", " ") for cell in row.locator("td").all_inner_texts()]
    assert cells == ["744", "9.50 GW", "1.50 GW", "−0.250 GW", "50 %", "79 %", "85 %", "1.75 GW"]
    expect(page.locator(".barlayer .point")).to_have_count(4)
    registry.evaluations["1abcdef0123456789abcdef012345678"] = RegistryError("There is no such folder.")
    page.get_by_role("link", name="linear regression").click()
    shows(page, "Where linear regression can be trusted", "The evaluation of this run is not there")
    shows(page, "There is no such folder.", where="#banner")
    assert "run=1abcdef0123456789abcdef012345678" in page.url, "a link to this very run"


def test_the_ledger_shows_promotions_refusals_and_rollbacks(visit, registry):
    page = visit.go("/models")
    shows(page, "4 July 2016, 12:03 UTC", "beats the champion on every target", "wind_GW: no better than the champion")
    rows = page.locator("tr", has=page.locator(".action"))
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("recorded")
    registry.ledgers["wind_solar"] = make_ledger(action="rollback", reason="asked for", state="begun")
    shows(page, "rollback, begun", "asked for")


def test_health_shows_servers_runs_and_quality(visit, registry):
    registry.servers = make_services(tracking="down")
    page = visit.go("/health")
    shows(page, "■ down", "● up", "Steps of training of 4 July 2016, 11:50 UTC", "120 s", "recorded")
    expect(page.locator(".barlayer .point")).to_have_count(2)
    shows(page, "Every month has every value.", "repeated hour", "kept the first", "27 October 2013, 01:00 UTC")
    shows(page, "Of 2,112 time stamps")
    registry.servers = make_services()
    expect(page.locator("td .light.old")).to_have_count(0)


def test_the_log_of_each_step_is_two_clicks_away(visit, registry):
    run = registry.runs["wind_solar"][0]["run_id"]
    registry.lines[run, "gradient_boosting"] = f"2016-07-04 11:51:00Z {SCRIPT}\n"
    page = visit.go("/health")
    page.get_by_role("row", name="4 July 2016, 11:50 UTC").locator("summary").click()
    steps = page.locator("details li")
    expect(steps).to_have_text(
        ["process_data finished, 12 s", "gradient_boosting finished, 95 s", "promote no run of its own"]
    )
    with page.expect_popup() as opened:
        page.get_by_role("link", name="gradient_boosting").click()
    log = opened.value
    expect(log.locator("pre")).to_have_text(f"2016-07-04 11:51:00Z {SCRIPT}")
    assert log.evaluate("window.hacked") is None
    answer = requests.get(f"{visit.base}/log/{run}/promote", timeout=10)
    assert answer.status_code == 404 and "has left no lines" in answer.text
    assert answer.headers["Content-Type"].startswith("text/plain") and "Content-Security-Policy" in answer.headers


def test_the_watch_is_told_in_words_with_what_was_decided_and_what_is_asked(visit, registry):
    page = visit.go("/health")
    shows(page, "Nothing has been checked yet.", "make monitor COLLECTION=wind_solar")
    quiet = make_findings()
    registry.checks["wind_solar"] = quiet
    shows(page, "Nothing unusual.", "30 June 2016, 23:00 UTC", "Checked weeks of data: 1, with alarms: 0")
    rows = [make_finding("data", "level", "windspeed", text=SCRIPT), make_finding("fault", "stuck", "temperature")]
    rows.append(make_finding("model", "error", "wind_GW", estimate=True))
    registry.checks["wind_solar"] = pd.concat([quiet[:2], make_findings(*rows)], ignore_index=True)
    registry.decisions["wind_solar"] = make_actions("ask_a_person", "temperature: stuck.")
    registry.remedies["wind_solar"] = "Mend the data: make refresh ARGS=--go-on"
    shows(
        page, "3 alarms", "A person is asked", "make refresh ARGS=--go-on", "a person is asked", "temperature: stuck."
    )
    lines = page.locator(".alert li").all_inner_texts()
    assert [line.partition(":")[0].split()[0] for line in lines] == ["Fault", "Model", "Drift"]
    assert "estimate" in lines[1] and "estimate" not in lines[0] + lines[2] and SCRIPT in lines[2]
    checks = page.get_by_role("table", name="Every check of the newest data")
    expect(checks).to_be_hidden()
    page.get_by_role("button", name="All 3 checks").click()
    expect(checks).to_be_visible()
    expect(checks.locator("tbody tr")).to_have_count(3)
    page.wait_for_function("document.querySelectorAll('.js-plotly-plot .main-svg').length >= 3")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    page.get_by_role("link", name="Now").click()
    shows(page, "4 things need attention", "Model, an estimate: wind_GW", "A person is asked. Mend the data")
    assert page.evaluate("window.hacked") is None


def test_predictions_are_told_apart_and_labelled_by_who_made_them(visit, registry):
    registry.issued["wind_solar"] = make_predictions()
    page = visit.go()
    shows(page, "Dashed and hatched", "By version 3, issued 5 July 2016, 06:15 UTC", "Nothing needs attention.")
    legend = page.locator(".js-plotly-plot").first.locator(".legendtext")
    expect(legend).to_have_text(["80 % interval", "Forecast", "Recorded", "Ahead, version 3"])
    rows = [make_predictions("earlier_version", 2, 24), make_predictions("naive", None, 48).groupby("target").tail(24)]
    registry.issued["wind_solar"] = pd.concat(rows, ignore_index=True)
    shows(
        page,
        "Version 3 could not forecast: of 1 July 2016, 00:00 UTC to 1 July 2016, 23:00 UTC there are forecasts of the earlier",
        "there are forecasts of the naive baseline instead, issued 5 July 2016, 06:15 UTC",
    )
    expect(legend.last).to_have_text("Ahead, naive baseline")
    shows(page, "Ahead, earlier version 2", where=".js-plotly-plot >> nth=0")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    visit.go("/explore", more="&show=wind_GW&from=2016-06-29T00:00&to=2016-07-03T00:00")
    shows(page, "Dashed: as issued", where="#explore-words")
    shows(page, "there are forecasts of the naive baseline", where="#explore-notice")
    assert list(curves(page))[-3:] == ["Issued, earlier version 2", "Issued, naive baseline", "Recorded"]
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Download as CSV").click()
    table = pd.read_csv(io.StringIO(waiting.value.path().read_text(encoding="utf-8")), comment="#", index_col=0)
    sources = table["wind_GW_issued_source"].fillna("").groupby(table["wind_GW"].isna()).agg(set)
    assert sources[False] == {""} and sources[True] == {"earlier_version", "naive"}


def test_predictions_show_where_production_cannot_be_read(browser, checkout, tmp_path):
    registry = Registry()
    registry.productions["wind_solar"] = RegistryError("The dataset is lost.")
    registry.issued["wind_solar"] = make_predictions("naive", None)
    with serving(registry, checkout, tmp_path) as address, contextlib.closing(browser.new_context()) as context:
        page = context.new_page()
        page.goto(f"{address}/?collection=wind_solar")
        shows(page, "Newest predictions", "No version in Production could forecast")
        shows(page, "The dataset is lost.", where="#banner")
        expect(page.locator(".js-plotly-plot").first.locator(".trace.scatter")).to_have_count(2)


def test_half_hours_of_one_quantity_in_the_south_are_shown_like_hours(browser, tmp_path):
    known = yaml.safe_load((CHECKOUT / "projects" / "wind_solar" / "collection.yaml").read_text(encoding="utf-8"))
    kept = {name: DEMAND[name] for name in ("frequency", "timezone", "location", "naive")}
    limits = {"minimum": 0, "maximum": 12000}
    columns = {name: {**limits, **column} for name, column in DEMAND["columns"].items()}
    known |= {"name": "demand", "title": DEMAND["title"]}
    known["dataset"] = {**known["dataset"], **kept, "columns": columns}
    folder = tmp_path / "projects" / "demand"
    folder.mkdir(parents=True)
    (folder / "collection.yaml").write_text(yaml.safe_dump(known), encoding="utf-8")
    registry = Registry(demand=make_demand())
    registry.boards["demand"] = leaderboard().rename(columns=lambda name: name.replace("solar_GW", "demand_MW"))
    only = {"regimes": make_regimes(("demand_MW",)), "importance": make_importance(("demand_MW",))}
    registry.evaluations = dict.fromkeys(registry.boards["demand"]["run_id"].dropna(), only)
    registry.issued["demand"] = make_predictions()[:0]
    with (
        serving(registry, tmp_path, tmp_path) as address,
        contextlib.closing(browser.new_context(**DESKTOP)) as context,
    ):
        visit = Visit(context.new_page(), address)
        page = visit.go("/", "demand")
        shows(
            page,
            "30 November 2014, 12:30 UTC",
            "to Sunday 30 November 2014, 23:30 (Australia/Melbourne)",
            "168 h counted",
        )
        shows(page, "the value recorded 7 days earlier")
        expect(page.locator(".js-plotly-plot")).to_have_count(1)
        expect(page.locator(".ytick").first).to_be_visible()
        ticks = page.locator(".ytick").all_text_contents()
        assert all(re.fullmatch(r"\d,\d00", tick) or tick == "0" for tick in ticks) and len(ticks) > 2, ticks
        page = visit.go("/explore", "demand", more="&from=2014-10-01T00:00&to=2014-11-01T00:00")
        shows(
            page,
            "Each point: mean of 60 minutes",
            "1 October 2014, 00:00 to 1 November 2014, 00:00 (Australia/Melbourne)",
        )
        visit.go("/explore", "demand", more="&from=2014-10-01T00:00&to=2014-10-08T00:00")
        shows(page, "Each point: one value")
        assert curves(page)["Recorded"] == 334, "48 a day, two less where the clocks are put forward"
        shows(visit.go("/models", "demand"), "demand_MW, errors in MW, recorded data", "372")
        shows(visit.go("/health", "demand"), "every 30 minutes", "Of 4,366 time stamps")
        assert "GW" not in body(page).inner_text() and "sun" not in body(page).inner_text().lower()
        visit.check()


def test_an_application_database_that_is_down_is_a_banner(visit, registry):
    registry.checks["wind_solar"] = make_findings()
    page = visit.go("/health")
    shows(page, "Nothing unusual.")
    registry.checks["wind_solar"] = registry.issued["wind_solar"] = DatabaseError("The application database is down.")
    shows(page, "The application database is down. Shown is what it said at", where="#banner")
    shows(page, "Nothing unusual.", "repaired")
    visit.go()
    shows(page, "Scores of these days")
    shows(page, "The application database is down.", where="#banner")


def test_servers_that_are_killed_leave_what_was_known_with_a_banner_until_they_are_back(
    new_settings, browser, monkeypatch
):
    """The real tracking server is killed while its supervisor is held, and the application database's file is taken away."""
    settings = services.up(new_settings())
    for name, value in settings.child_environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # as the dashboard's own process has it
    client = MlflowClient(settings.tracking_uri)
    experiment = client.create_experiment(collection.find("wind_solar").experiment)
    known = {tags.COLLECTION: "wind_solar", tags.STEP: "pipeline", tags.JOB: "training"}
    run = client.create_run(experiment, tags=known).info.run_id
    client.set_terminated(run)
    hour = pd.Timestamp("2016-06-30T23:00Z")
    alarm = findings.Finding("fault", "windspeed", "stuck", hour, hour, 9.0, 6.0, True, "windspeed: stuck.")
    findings.record(findings.Checked("wind_solar", run, "cd" * 32, synthetic=False, version=3), [alarm])
    found = daemon.processes(settings)
    ports = {"ftp_port": settings.ftp_port, "tracking_port": settings.tracking_port}
    with (
        serving(None, CHECKOUT, settings.home, **ports) as address,
        contextlib.closing(browser.new_context()) as context,
    ):
        page = context.new_page()
        page.goto(f"{address}/health?collection=wind_solar")
        link = page.get_by_title(f"Run {run} in the tracking UI")
        expect(link).to_be_visible(timeout=60_000)
        shows(page, "windspeed: stuck.")
        held = [process for process in found["supervisord"] if process.is_running()]
        for process in held:
            process.suspend()
        try:
            for process in found["tracking"]:
                process.kill()
            shows(page, f"The tracking server at {settings.tracking_uri} does not answer", where="#banner")
            shows(page, "Shown is what it said at", where="#banner")
            expect(link).to_be_visible()
        finally:
            for process in held:
                process.resume()
        expect(page.locator("#banner")).to_have_text("")
        expect(link).to_be_visible()
        database, aside = settings.home / "dsgo.db", settings.home / "aside.db"
        database.rename(aside)
        database.mkdir()
        shows(page, "database", where="#banner")
        shows(page, "windspeed: stuck.")
        database.rmdir()
        aside.rename(database)
        expect(page.locator("#banner")).to_have_text("")
        shows(page, "windspeed: stuck.")


def test_a_fresh_system_says_so_on_every_page(visit, registry):
    registry.productions, registry.boards, registry.ledgers, registry.runs = {}, {}, {}, {}
    for path, words in {
        "/": "No model of the collection 'wind_solar' is in Production yet.",
        "/explore": "No model of the collection 'wind_solar' is in Production yet.",
        "/models": "No candidate has been trained yet.",
        "/health": "No pipeline has run yet.",
    }.items():
        shows(visit.go(path), words)


def state(page):
    return parse_qs(urlsplit(page.url).query)


def curves(page):
    """Points of each curve of the explored picture, by name; of the uppermost row."""
    script = """document.querySelector('#explore-graph .js-plotly-plot').data
        .filter(t => t.xaxis === 'x').map(t => [t.name, (t.x._inputArray || t.x).length])"""
    expect(page.locator("#explore-graph .main-svg").first).to_be_visible()
    return dict(page.evaluate(script))


def test_explore_zooms_from_everything_to_single_values(visit):
    page = visit.go("/explore")
    shows(page, "mean of 3 hours", "lowest to highest")
    assert set(curves(page)) == {"Lowest to highest", "Forecast", "Recorded"}
    assert curves(page)["Recorded"] <= explore.MOST_POINTS
    page.get_by_role("button", name="Newest week").click()
    shows(page, "Each point: one value")
    assert curves(page)["Recorded"] == 168 and "80 % interval" in curves(page)
    assert state(page)["from"] == ["2016-06-24T02:00"] and state(page)["to"] == ["2016-07-01T02:00"]
    page.get_by_role("button", name="Earlier").click()
    page.wait_for_url("**from=2016-06-20T14*")
    page.get_by_role("button", name="Zoom in").click()
    page.wait_for_url("**to=2016-06-25T20*")
    page.get_by_role("button", name="All", exact=True).click()
    shows(page, "mean of 3 hours")
    page.go_back()
    shows(page, "Each point: one value")
    expect(page.locator("#explore-from")).to_have_value("22 Jun 2016")


def test_explore_zooms_into_what_is_drawn_with_the_mouse(visit):
    page = visit.go("/explore")
    shows(page, "mean of 3 hours")
    area = page.locator("#explore-graph .nsewdrag").first.bounding_box()
    y = area["y"] + area["height"] / 2
    page.mouse.move(area["x"] + area["width"] * 0.5, y)
    page.mouse.down()
    page.mouse.move(area["x"] + area["width"] * 0.6, y, steps=5)
    page.mouse.up()
    shows(page, "Each point: one value")
    assert state(page)["from"][0].startswith("2016-05-1") and state(page)["to"][0].startswith("2016-05-2")


def test_explore_takes_dates_quantities_and_years(visit):
    page = visit.go("/explore")
    shows(page, "mean of 3 hours")
    page.locator("#explore-from").fill("3 May 2016")
    page.locator("#explore-from").press("Enter")
    page.wait_for_url("**from=2016-05-03T00*")
    page.locator("#explore-to").fill("5 May 2016")
    page.locator("#explore-to").press("Enter")
    page.wait_for_url("**to=2016-05-06T00*")
    shows(page, "3 May 2016, 00:00 to 6 May 2016, 00:00 (Europe/Berlin)")
    page.locator("#explore-columns").click()
    page.get_by_role("option", name="temperature in °C").click()
    shows(page, "temperature: Air temperature 2 m above ground, °C")
    assert state(page)["show"] == ["solar_GW", "wind_GW", "temperature"]
    page.keyboard.press("Escape")
    page.get_by_text("Compare years").click()
    shows(page, "2016. Curves: mean of 7 days")
    assert set(curves(page)) == {"2016"} and state(page)["year"] == ["2016"]


def test_a_link_shows_the_same_to_everybody(visit):
    more = "&show=windspeed&from=2016-05-03T00:00&to=2016-05-06T00:00"
    page = visit.go("/explore", more=more)
    shows(page, "windspeed: Wind speed 10 m above ground, m/s", "3 May 2016, 00:00 to 6 May 2016, 00:00")
    assert curves(page) == {"Recorded": 72}
    expect(page.locator("#explore-to")).to_have_value("5 May 2016")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("&show=<b>moon", "There is no quantity '<b>moon'."),
        ("&from=yesterdayish", "'yesterdayish' is no date."),
        ("&from=1999-01-01&to=1999-02-01", "The data have nothing from these dates."),
        ("&by=years&year=1812", "There is no year '1812' in the data."),
    ],
)
def test_an_address_that_names_what_is_not_there_is_a_sentence(visit, more, words):
    page = visit.go("/explore", more=more)
    shows(page, words, where="#explore-notice")
    shows(page, "solar_GW: Solar power")


def test_the_download_has_every_value_with_unit_version_and_kind(visit, registry):
    registry.productions["wind_solar"] = Production(info={**INFO, "synthetic": True}, version="5")
    page = visit.go("/explore", more="&show=wind_GW&from=2016-05-03T00:00&to=2016-05-06T00:00")
    shows(page, "Synthetic data", "3 May 2016")
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Download as CSV").click()
    download = waiting.value
    assert download.suggested_filename == "20160503-20160505-synthetic.csv"
    text = download.path().read_text(encoding="utf-8")
    assert "wind_GW in GW; SYNTHETIC data" in text and "forecasts of version 5" in text
    table = pd.read_csv(io.StringIO(text), comment="#", index_col=0, parse_dates=True)
    assert list(table) == ["wind_GW", "wind_GW_forecast", "wind_GW_p10", "wind_GW_p90"] and len(table) == 72
    expected = make_table().loc[table.index, "wind_GW"]
    assert np.allclose(table["wind_GW"], expected, rtol=1e-5)


def test_a_database_that_is_down_leaves_the_rest_standing(visit, registry):
    page = visit.go("/models")
    shows(page, "beats the champion on every target")
    registry.ledgers["wind_solar"] = RegistryError("The database of DSGo is down.")
    shows(page, "The database of DSGo is down. Shown is what it said at", where="#banner")
    shows(page, "beats the champion on every target", "gradient boosting")
    registry.ledgers["wind_solar"] = make_ledger()
    expect(page.locator("#banner")).to_have_text("")


def test_light_and_dark_follow_the_system_and_the_reader(browser, served, registry):
    for scheme, other in (("light", "dark"), ("dark", "light")):
        with contextlib.closing(browser.new_context(color_scheme=scheme)) as context:
            page = context.new_page()
            page.goto(f"{served[1]}/?collection=wind_solar")
            shows(page, "Version 3")
            paper = "getComputedStyle(document.body).backgroundColor"
            before = page.evaluate(paper)
            page.get_by_role("button", name="Light or dark").click()
            expect(page.locator("html")).to_have_attribute("data-mantine-color-scheme", other)
            assert page.evaluate(paper) != before
            page.reload()
            expect(page.locator("html")).to_have_attribute("data-mantine-color-scheme", other)


@EVERYWHERE
@pytest.mark.parametrize(
    "visit",
    [{**DESKTOP, "color_scheme": "light"}, {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"}],
    ids=["light desktop", "dark phone"],
    indirect=True,
)
def test_axe_finds_nothing(visit, path):
    page = visit.go(path)
    drawn(page, path)
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_a_password_is_asked_for_and_then_everything_works(browser, checkout, tmp_path):
    user, password = "böse", "geheim-語"
    changes = {"dashboard_user": user, "dashboard_password": password}
    with serving(Registry(wind_solar=Production()), checkout, tmp_path, **changes) as address:
        for path in (
            "/",
            "/_dash-layout",
            "/explore.csv?collection=wind_solar",
            "/log/0/process_data",
            "/assets/dashboard.css",
        ):
            assert requests.get(address + path, timeout=10).status_code == 401
        wrong = base64.b64encode(f"{user}:{password}x".encode()).decode()
        refused = requests.get(address, headers={"Authorization": f"Basic {wrong}"}, timeout=10)
        assert refused.status_code == 401 and "Basic" in refused.headers["WWW-Authenticate"]
        assert requests.get(f"{address}/ping", timeout=10).text == "ok"
        context = browser.new_context(http_credentials={"username": user, "password": password})
        with contextlib.closing(context):
            page = context.new_page()
            page.goto(f"{address}/?collection=wind_solar")
            shows(page, "Version 3")
            assert password not in page.content()


def test_an_open_page_says_when_the_dashboard_itself_is_gone(browser, checkout, tmp_path):
    with contextlib.closing(browser.new_context()) as context:
        page = context.new_page()
        with serving(Registry(wind_solar=Production()), checkout, tmp_path) as address:
            page.goto(f"{address}/?collection=wind_solar")
            shows(page, "Version 3")
        shows(page, "The dashboard’s server does not answer.", where="#offline")
        shows(page, "Version 3")
