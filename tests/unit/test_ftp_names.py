import pytest

from dsgo.ftp_names import absolute_path, aside_name, is_hidden, is_part, part_name, relative_path


@pytest.mark.parametrize(
    "given, expected",
    [(None, ""), ("", ""), (".", ""), ("a/b", "a/b"), ("a//b/./c/", "a/b/c"), ("ü x", "ü x"), ("..a/b..", "..a/b..")],
)
def test_relative_path(given, expected):
    assert relative_path(given) == expected
    assert absolute_path(given or "") == "/" + expected


@pytest.mark.parametrize("path", ["/a", "..", "a/../b", "a/..", "a\rb", "a\nb", "a\0b", "a\udc80b"])
def test_refused(path):
    with pytest.raises(ValueError):
        relative_path(path)


def test_parts_are_told_from_artifacts():
    assert is_part(part_name()) and is_part(f"/folder/{part_name()}")
    assert is_hidden(part_name()) and is_hidden(aside_name()) and not is_part(aside_name())
    assert part_name() != part_name()
    for name in ("model.part", ".dsgo-x.part", ".dsgo-" + "0" * 32, "x" + part_name(), part_name() + "x"):
        assert not is_part(name)
