"""Two pipelines of one collection do not run at once in one copy."""

from __future__ import annotations

import pytest

from dsgo.errors import DSGoError
from dsgo.pipeline import _only_one
from dsgo.settings import load, prepare


def test_a_second_pipeline_of_the_collection_is_refused_and_another_collection_is_not(tmp_path):
    settings = prepare(load({"DSGO_HOME": str(tmp_path)}))
    with _only_one(settings, "wind_solar"):
        with pytest.raises(DSGoError, match="wind_solar is running already"), _only_one(settings, "wind_solar"):
            pass
        with _only_one(settings, "victoria_demand"):
            pass
    with _only_one(settings, "wind_solar"):
        pass
