"""The dashboard in a real browser, served as in production, with a stand-in for the registry."""

import contextlib
import copy
import re
import threading
from urllib.parse import quote

import app as dashboard
import numpy as np
import pandas as pd
import pytest
import yaml
from playwright.sync_api import expect
from standins import INFO, Production, Registry, make_table

from dsgo.errors import RegistryError
from dsgo.settings import CHECKOUT, Settings

SCRIPT = "<script>window.hacked = true</script><img src=x onerror='window.hacked = true'>"
HOSTILE = "<b>hostile & co"
WAIT = 20_000  # milliseconds; two slow cores shared with other tests


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
def serving(registry, checkout, home, port=0):
    """The address of a dashboard of its own that shows `registry`."""
    settings = Settings(home=home, tracking_port=5999, checkout=checkout)
    server = dashboard.listen(dashboard.create_app(settings, registry, recheck=0.2, tick=0.3), port)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.effective_port}"
    finally:
        server.task_dispatcher.shutdown()
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

    def go(self, path="/", collection="wind_solar"):
        self.page.goto(f"{self.base}{path}?collection={quote(collection)}")
        return self.page

    def check(self):
        """Nothing failed, and nothing came from anywhere else."""
        assert self.faults == []
        assert [url for url in self.requests if not url.startswith((self.base, "data:", "blob:"))] == []


@pytest.fixture(params=[{"width": 1200, "height": 900}], ids=["desktop"])
def visit(request, browser, served, registry):
    context = browser.new_context(viewport=request.param)
    visit = Visit(context.new_page(), served[1])
    yield visit
    context.close()
    visit.check()


PHONE = pytest.mark.parametrize("visit", [{"width": 390, "height": 844}], ids=["phone"], indirect=True)


def body(page):
    return page.locator("#body")


def shows(page, *words, where="#body"):
    for word in words:
        expect(page.locator(where)).to_contain_text(word, timeout=WAIT)


def test_now_shows_forecast_interval_and_recorded_with_unit_and_version(visit):
    page = visit.go()
    shows(
        page,
        "version 3 (gradient boosting)",
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
    assert "Synthetic" not in body(page).inner_text()
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
    assert link.get_attribute("href") == ("http://127.0.0.1:5999/#/experiments/7/runs/0abcdef0123456789abcdef012345678")
    expect(page.locator("td a")).to_have_count(4)
    assert page.title() == "Models · wind_solar · DSGo"
    assert "collection=wind_solar" in page.url


def test_runs_are_not_linked_where_their_experiment_is_unknown(visit, registry):
    registry.boards["wind_solar"] = leaderboard().drop(columns="experiment_id")
    page = visit.go("/models")
    shows(page, "0abcdef0")
    expect(page.locator("#body a")).to_have_count(0)


@PHONE
@pytest.mark.parametrize("path", ["/", "/models"])
def test_a_phone_scrolls_only_downwards(visit, path):
    page = visit.go(path)
    shows(page, "GW")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_promotion_shows_without_a_reload(visit, registry):
    page = visit.go()
    shows(page, "version 3 (gradient boosting)")
    page.evaluate("window.sameDocument = true")
    registry.productions["wind_solar"] = Production(version="4", step="random_forest", run_id="f" * 32)
    shows(page, "version 4 (random forest)", "twin of version 4")
    assert page.evaluate("window.sameDocument") is True
    assert dashboard.RECHECK + 2 * dashboard.TICK <= 25, "with real pauses: within 30 s, with 5 s to load"


def test_a_registry_that_is_down_leaves_the_last_good_data_with_a_banner_and_recovers(visit, registry):
    page = visit.go()
    shows(page, "version 3")
    good = registry.productions["wind_solar"]
    registry.productions["wind_solar"] = RegistryError("The tracking server is down.")
    shows(page, "The tracking server is down. Shown is what it said at", where="#banner")
    shows(page, "version 3")
    expect(page.locator(".js-plotly-plot")).to_have_count(2)
    registry.productions["wind_solar"] = RuntimeError("inner secret")
    shows(page, "The registry cannot be read (RuntimeError", where="#banner")
    assert "inner secret" not in page.content()
    registry.productions["wind_solar"] = good
    expect(page.locator("#banner")).to_have_text("", timeout=WAIT)
    shows(page, "version 3")


def test_a_system_without_a_model_says_so_and_shows_the_first_promotion(visit, registry):
    registry.productions = {}
    registry.boards = {}
    page = visit.go()
    shows(page, "No model of the collection 'wind_solar' is in Production yet.")
    page.get_by_role("link", name="Models").click()
    shows(page, "No candidate has been trained yet.")
    page.get_by_role("link", name="Now").click()
    registry.productions["wind_solar"] = Production()
    shows(page, "version 3")


def test_synthetic_data_are_called_synthetic(visit, registry):
    registry.productions["wind_solar"] = Production(info={**INFO, "synthetic": True}, version="5")
    shows(visit.go(), "Synthetic data.")


def test_gaps_and_absent_values_are_drawn(visit, registry):
    table = make_table()
    table.loc["2016-06-27":"2016-06-28", "wind_GW"] = np.nan
    registry.productions["wind_solar"] = Production(table=table, version="6")
    page = visit.go()
    shows(page, "version 6", "168 h counted")
    expect(page.locator(".js-plotly-plot")).to_have_count(2)


def test_hostile_names_stay_text(visit, registry):
    info = copy.deepcopy(INFO)
    info |= {"collection": HOSTILE, "title": SCRIPT}
    info["columns"]["wind_GW"] |= {"description": SCRIPT, "unit": SCRIPT}
    registry.productions[HOSTILE] = Production(info=info, step=SCRIPT, version=SCRIPT)
    board = leaderboard()
    board["model"], board["version"], board["run_id"] = SCRIPT, SCRIPT, '"><script>window.hacked = true</script>'
    registry.boards[HOSTILE] = board
    page = visit.go(collection=HOSTILE)
    shows(page, f"version {SCRIPT}")
    expect(page.locator(".js-plotly-plot").nth(1).locator(".ytitle")).to_have_text(SCRIPT)
    page.locator(".js-plotly-plot .nsewdrag").nth(1).hover()
    page.get_by_role("link", name="Models").click()
    shows(page, "window.hacked")
    expect(page.get_by_role("link", name=HOSTILE)).to_have_class("here")
    assert page.evaluate("window.hacked") is None
    assert page.locator("#body script, #body img, #navigation b").count() == 0


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
    page.get_by_role("link", name="wind solar").click()
    shows(page, "version 3")


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
    shows(visit.go(), "version 8")


def test_an_open_page_outlives_a_restart_of_the_dashboard(browser, checkout, tmp_path, free_ports):
    (port,) = free_ports(1)
    with contextlib.closing(browser.new_context()) as context:
        page = context.new_page()
        page.set_default_timeout(WAIT)
        with serving(Registry(wind_solar=Production()), checkout, tmp_path, port) as address:
            page.goto(f"{address}/?collection=wind_solar")
            shows(page, "version 3")
            page.evaluate("window.sameDocument = true")
        with page.expect_event("requestfailed", timeout=WAIT):
            pass
        shows(page, "version 3")
        with serving(Registry(wind_solar=Production(version="9")), checkout, tmp_path, port):
            shows(page, "version 9")
            assert page.evaluate("window.sameDocument") is True


def test_pages_can_be_used_by_keyboard(visit):
    page = visit.go()
    shows(page, "version 3")
    names = []
    for _ in range(4):
        page.keyboard.press("Tab")
        names.append(page.evaluate("document.activeElement.textContent"))
    assert names[:3] == ["DSGo", "Now", "Models"]
    page.locator("nav.pages a", has_text="Models").focus()
    page.keyboard.press("Enter")
    shows(page, "Back-test")
