"""Pictures of an evaluation show the numbers of its tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dsgo import diagnostics
from dsgo.regimes import score_regimes

INFO = {
    "frequency": "1h",
    "timezone": "Australia/Melbourne",
    "location": {"latitude": -37.8, "longitude": 145.0},
    "columns": {
        "demand_MW": {"role": "target", "unit": "MW", "minimum": 0, "maximum": 9},
        "temperature": {"role": "input", "quantity": "temperature", "unit": "°C", "minimum": -45, "maximum": 50},
    },
}
TARGET = "demand_MW"


@pytest.fixture
def table() -> pd.DataFrame:
    index = pd.date_range("2016-01-01", periods=24 * 70, freq="h", tz="UTC", name="utc_timestamp")
    recorded = 5.0 + np.sin(np.arange(len(index)))
    parts = {"": recorded, "_forecast": recorded + 0.5, "_p10": recorded - 0.5, "_p90": recorded + 1.0, "_naive": 5.0}
    return pd.DataFrame({f"{TARGET}{part}": values for part, values in parts.items()}, index).assign(temperature=20.0)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list:
    """The figures that have been drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figures = []
    original = FigureCanvasAgg.print_png

    def print_png(self, *arguments, **options):
        figures.append(self.figure)
        return original(self, *arguments, **options)

    monkeypatch.setattr(FigureCanvasAgg, "print_png", print_png)
    return figures


def test_reliability_and_residuals_show_the_scores(table, tmp_path, drawn):
    scores = score_regimes({"backtest": table.copy(), "window": table}, table, INFO)
    diagnostics.draw_reliability(tmp_path / "reliability.png", scores, INFO)
    diagnostics.draw_residuals(tmp_path / "residuals.png", scores, INFO)
    assert all((tmp_path / name).read_bytes()[:4] == b"\x89PNG" for name in ("reliability.png", "residuals.png"))
    quantiles, inside = drawn[0].axes
    lines = {line.get_label(): line.get_ydata() for line in (*quantiles.lines, *inside.lines)}
    assert set(lines["p10"]) == {0.0}
    assert set(lines["p90"]) == {100.0}
    assert list(lines["p10 to p90"]) == [100.0, 100.0, 100.0]
    assert [text.get_text() for text in inside.get_xticklabels()] == ["2016-01", "2016-02", "2016-03"]
    by_hour, by_season, by_forecast = drawn[1].axes
    for panel in (by_hour, by_season, by_forecast):
        shown = np.concatenate([line.get_ydata() for line in panel.lines if not line.get_label().startswith("_")])
        assert shown[np.isfinite(shown)] == pytest.approx(0.5)  # RMSE and bias of an error that is always the same
    assert "MW" in by_forecast.get_xlabel()
    assert "Australia/Melbourne" in by_hour.get_xlabel()


def test_importance_shows_the_largest_on_top_and_every_contribution(table, tmp_path, drawn):
    importance = pd.DataFrame(
        {
            "target": TARGET,
            "group": ["temperature", "time of day", "sun"],
            "rmse_increase": [-0.1, 3.0, 0.2],
            "rmse_increase_sd": 0.1,
        }
    )
    contributions = pd.DataFrame(
        {
            "utc_timestamp": table.index[:50],
            "target": TARGET,
            "temperature": np.linspace(-1, 1, 50),
            "time of day": 2.0,
            "sun": 0.0,
        }
    )
    diagnostics.draw_importance(tmp_path / "importance.png", importance, contributions, table, INFO)
    bars, points = drawn[0].axes
    assert [label.get_text() for label in bars.get_yticklabels()] == ["temperature", "sun", "time of day"]
    assert [bar.get_width() for bar in bars.patches] == [-0.1, 0.2, 3.0]
    shown = points.collections[0].get_offsets()
    assert sorted(shown[:, 0]) == pytest.approx(np.linspace(-1, 1, 50))
    assert np.abs(shown[:, 1]).max() < 0.5
    assert "MW" in bars.get_xlabel()
    assert "MW" in points.get_xlabel()
