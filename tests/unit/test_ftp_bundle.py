import hashlib
import json
import os
import random

import pytest

from dsgo.ftp_bundle import BundleError, Unpacker, pack_files, pack_folder
from dsgo.ftp_names import part_name


def line(**header) -> bytes:
    return json.dumps(header).encode() + b"\n"


@pytest.fixture
def tree(tmp_path):
    base = tmp_path / "tree"
    (base / "sub" / "empty ö").mkdir(parents=True)
    for number, size in enumerate((0, 1, 5, 300_000, 70_000)):
        (base / "sub" / f"{number} ü\u2028.bin").write_bytes(os.urandom(size))
    (base / "top.txt").write_text("top")
    return base


def content(folder):
    return {
        path.relative_to(folder).as_posix(): None if path.is_dir() else path.read_bytes() for path in folder.rglob("*")
    }


def feed(unpacker: Unpacker, data: bytes, seed: int) -> None:
    """In pieces of any size, cut anywhere."""
    choose = random.Random(seed)
    while data:
        cut = choose.choice((1, 7, 1000, 100_000))
        unpacker.feed(data[:cut])
        data = data[cut:]


@pytest.mark.parametrize("seed", range(5))
def test_files_come_out_as_they_went_in(tree, tmp_path, seed):
    files = [(path, path.relative_to(tree).as_posix()) for path in tree.rglob("*") if path.is_file()]
    unpacker = Unpacker(tmp_path / "out")
    feed(unpacker, b"".join(block for block, _ in pack_files(files)), seed)
    assert unpacker.finished and unpacker.files == len(files)
    assert sum(count for _, count in pack_files(files)) == sum(path.stat().st_size for path, _ in files)
    (tree / "sub" / "empty ö").rmdir()
    assert content(tmp_path / "out") == content(tree)


def test_a_folder_with_limit_links_and_parts(tree, tmp_path):
    (tree / part_name()).write_text("part")
    (tree / "link").symlink_to("top.txt")
    (tree / "outside").symlink_to(tmp_path)
    (tree / "loop").symlink_to(tree)
    bundle = b"".join(pack_folder(str(tree), 100_000, lambda path: not path.endswith("outside")))
    unpacker = Unpacker(tmp_path / "out")
    feed(unpacker, bundle, 0)
    assert unpacker.finished and unpacker.left == [("sub/3 ü\u2028.bin", 300_000)]
    assert set(content(tmp_path / "out")) == {
        "top.txt", "link", "sub", "sub/empty ö", *(f"sub/{number} ü\u2028.bin" for number in (0, 1, 2, 4)),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "", ".", "a\nb"])
def test_names_that_lead_elsewhere(tmp_path, name):
    unpacker = Unpacker(tmp_path / "in" / "side")
    with pytest.raises(BundleError):
        unpacker.feed(line(name=name, size=1) + b"x" + line(end=1))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "data",
    [
        line(name="x", size=3, sha256=hashlib.sha256(b"abd").hexdigest()) + b"abc",
        line(name="x", size=3)[:-1] + b"\n" + b"ab" + line(end=1),  # a byte is missing, so the end is not found
        b"no json\n",
        b"[]\n",
        line(size=3),
        line(name="x", size="many"),
        line(name="x", size=-1) + b"abc",
        line(name="x", size=1.5),
        line(name=3, size=3),
        line(end=7),
        line(end=0) + b"more",
        b"x" * 100_000,
    ],
)
def test_what_is_no_bundle(tmp_path, data):
    unpacker = Unpacker(tmp_path)
    try:
        unpacker.feed(data)
    except BundleError:
        pass
    else:
        assert not unpacker.finished
    unpacker.close()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "x"]
    assert not (tmp_path / "x").exists() or data.startswith(b'{"name": "x", "size": 3}')


def test_a_cut_bundle_leaves_whole_files_only(tree, tmp_path):
    files = [(path, path.relative_to(tree).as_posix()) for path in tree.rglob("*") if path.is_file()]
    bundle = b"".join(block for block, _ in pack_files(files))
    for cut in (10, 1000, len(bundle) // 2, len(bundle) - 1):
        unpacker = Unpacker(tmp_path / f"{cut}")
        unpacker.feed(bundle[:cut])
        unpacker.close()
        assert not unpacker.finished
        found = {name: data for name, data in content(tmp_path / f"{cut}").items() if data is not None}
        assert found.items() <= content(tree).items()
