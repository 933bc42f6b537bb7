"""The local wheel: when it is built, and what that does to environments made from an older one."""

from __future__ import annotations

import dataclasses
import re
import zipfile
from pathlib import Path

import pytest

from dsgo import wheel
from dsgo.errors import ServiceError
from dsgo.settings import Settings, load


@pytest.fixture
def package(tmp_path: Path) -> Settings:
    """Settings of a small checkout with a package of its own."""
    checkout = tmp_path / "checkout"
    (checkout / "dsgo").mkdir(parents=True)
    (checkout / "pyproject.toml").write_text(
        '[build-system]\nrequires=["setuptools"]\nbuild-backend="setuptools.build_meta"\n'
        '[project]\nname="dsgo"\nversion="1.2.3"\n[tool.setuptools]\npackages=["dsgo"]\n'
    )
    (checkout / "dsgo" / "__init__.py").write_text("answer = 41\n")
    return dataclasses.replace(load({"DSGO_HOME": str(tmp_path / "home")}), checkout=checkout)


def test_wheel_is_rebuilt_when_the_code_changes_and_only_then(package: Settings) -> None:
    first = wheel.build(package)
    assert re.fullmatch(r"dsgo-1\.2\.3-0[0-9a-f]{12}-py3-none-any\.whl", first.name)
    made = first.stat().st_mtime_ns
    environment = package.environments / "mlflow-abc"
    environment.mkdir(parents=True)
    assert wheel.build(package).stat().st_mtime_ns == made
    assert environment.exists()

    (package.checkout / "dsgo" / "__init__.py").write_text("answer = 42\n")
    (package.checkout / "dsgo" / "more.py").touch()
    second = wheel.build(package)
    assert second.name != first.name
    assert list(package.wheels.glob("*.whl")) == [second]
    with zipfile.ZipFile(second) as built:
        assert built.read("dsgo/__init__.py") == b"answer = 42\n"
        assert "dsgo/more.py" in built.namelist()
    assert not environment.exists()  # it held the old code
    assert sorted(entry.name for entry in package.checkout.iterdir()) == ["dsgo", "pyproject.toml"]


def test_wheel_that_cannot_be_built_keeps_the_last_and_says_why(package: Settings) -> None:
    last = wheel.build(package)
    (package.checkout / "pyproject.toml").write_text("[project\n")
    with pytest.raises(ServiceError, match=r"pyproject\.toml|TOML"):
        wheel.build(package)
    assert last.exists()
