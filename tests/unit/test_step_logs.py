import os

import pytest

from dsgo import flow, step_logs
from dsgo.settings import load

RUN = "0123456789abcdef" * 2


@pytest.fixture
def settings():
    return load()


def write(settings, step, content):
    file = step_logs.path(settings, RUN, step)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def nothing(run, path):
    return None


def test_lines_of_the_process_and_its_children_are_kept_with_their_time_while_they_come(tmp_path, capfd):
    with (tmp_path / "log").open("ab", buffering=0) as log:
        with flow.lines_named(flow.label("learn"), log):
            os.write(1, b"own line\n")
            os.system("echo of a child; echo INFO mlflow: noise >&2")
        lines = (tmp_path / "log").read_text().splitlines()
    assert [line[20:] for line in lines] == [" own line", " of a child", " INFO mlflow: noise"]
    assert all(line[10] == " " and line[19] == "Z" for line in lines)
    assert capfd.readouterr().out == "               learn | own line\n               learn | of a child\n"


def test_a_log_that_cannot_be_written_stops_no_step(tmp_path, capfd):
    log = (tmp_path / "log").open("ab", buffering=0)
    log.close()
    with flow.lines_named("learn", log):
        os.write(1, b"one\ntwo\n")
    assert capfd.readouterr().out.count("learn | ") == 2


@pytest.mark.parametrize(
    ("run", "step"),
    [
        ("../../../etc", "passwd"),
        (RUN, "../x"),
        (RUN, "a/b"),
        (RUN, ""),
        (RUN.upper(), "x"),
        (RUN + "\n", "x"),
        (RUN, "x\n"),
    ],
)
def test_no_other_file_can_be_asked_for(settings, run, step):
    with pytest.raises(ValueError, match="There is no log of a step"):
        step_logs.end(settings, run, step, nothing)


def test_of_a_long_log_the_end_is_shown_from_the_beginning_of_a_line(settings):
    line = "ä" * 49 + "\n"
    write(settings, "long", (line * 6_000).encode() + b"last\n")
    text = step_logs.end(settings, RUN, "long", nothing)
    first, *others = text.splitlines()
    assert first == "… what was before is in the file long.log …"
    assert others[-1] == "last" and set(others[:-1]) == {"ä" * 49} and len(others) > 4_900
    write(settings, "short", b"one\n\xff\n")
    assert step_logs.end(settings, RUN, "short", nothing) == "one\n\ufffd\n"


def test_what_this_machine_has_not_is_asked_of_the_store(settings):
    stored = {(RUN, "log/learn.log"): b"elsewhere\n"}
    assert step_logs.end(settings, RUN, "learn", lambda *asked: stored.get(asked)) == "elsewhere\n"
    assert step_logs.end(settings, RUN, "other", lambda *asked: stored.get(asked)) is None
    assert step_logs.names(settings, RUN) == []
    write(settings, "learn", b"here\n")
    assert step_logs.end(settings, RUN, "learn", lambda *asked: stored.get(asked)) == "here\n"
    assert step_logs.names(settings, RUN) == ["learn"]
