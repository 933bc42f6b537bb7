"""Promote, refuse, roll back, promote again, killed at every point between the writes; and what must not be deleted."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import deletions
import mlflow
import pytest
import sqlalchemy as sa
from candidates import Candidates, evidence, make_candidates
from mlflow.entities import LoggedModelOutput
from mlflow.tracking import MlflowClient

from dsgo import ledger, promotion, registry, services
from dsgo.errors import DSGoError, GateError, NoProductionModel, RegistryError
from dsgo.settings import CHECKOUT, Settings

# Does what the lines of its input ask for, each in a process of its own that is killed right before its write number `kill_at`.
KILLER = """
import json, os, signal, sys
from mlflow.tracking import MlflowClient
from dsgo import ledger, promotion
from dsgo.ledger import Evidence

WRITES = [(ledger, "append")] + [(MlflowClient, name) for name in (
    "create_registered_model", "create_model_version", "set_model_version_tag", "transition_model_version_stage",
    "set_registered_model_alias", "delete_registered_model_alias")]

def make_deadly(kill_at):
    begun = 0
    def wrap(owner, name):
        write = getattr(owner, name)
        def deadly(*arguments, **named):
            nonlocal begun
            if begun == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            begun += 1
            return write(*arguments, **named)
        setattr(owner, name, deadly)
    for owner, name in WRITES:
        wrap(owner, name)

for line in sys.stdin:
    order = json.loads(line)
    child = os.fork()
    if child == 0:
        make_deadly(order["kill_at"])
        arguments = order["arguments"]
        if "evidence" in arguments:
            arguments["evidence"] = Evidence(**arguments["evidence"])
        getattr(promotion, order["action"])(**arguments)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""
KILLED = -9
counter = itertools.count()


@pytest.fixture(scope="module")
def candidates(servers: Settings, tmp_path_factory: pytest.TempPathFactory) -> Candidates:
    """Five of them."""
    return make_candidates(tmp_path_factory.mktemp("model"), 5)


@pytest.fixture
def collection() -> str:
    """A name that nobody else uses."""
    return f"promotion_{next(counter)}"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, servers: Settings) -> Iterator[str]:
    """The ledger in a file of `servers`, or in PostgreSQL."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "postgresql":
            server = request.getfixturevalue("postgresql")
            url = server.replace("postgresql://", "postgresql+psycopg://")
            with sa.create_engine(url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT").connect() as outer:
                outer.exec_driver_sql("CREATE DATABASE promotion")
            patch.setenv("DSGO_DATABASE_URL", server.removesuffix("postgres") + "promotion")
        yield request.param


@pytest.fixture(scope="module")
def killer(database: str) -> Iterator[Callable[..., int]]:
    """Function: `killer(action, kill_at, **arguments)` does it in a process that is killed; gives its exit code."""
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "DSGO_ASKED_BY": "killer"}
    command = [sys.executable, "-c", KILLER]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, text=True, bufsize=1, **pipes) as process:

        def order(action: str, kill_at: int, **arguments: object) -> int:
            if "evidence" in arguments:
                arguments["evidence"] = vars(arguments["evidence"])
            process.stdin.write(json.dumps({"action": action, "kill_at": kill_at, "arguments": arguments}) + "\n")
            return int(process.stdout.readline())

        yield order
        process.stdin.close()
    assert process.returncode == 0


def answer(uri: str) -> int:
    return mlflow.pyfunc.load_model(uri).predict([[0.0]])


def check(settings: Settings, collection: str, expected: int | None) -> int | None:
    """All agree that the model in Production is the one that answers `expected`, or that there is none. Its version."""
    assert promotion.repair(collection) == [], "what is repaired stays so"
    assert collection not in services.out_of_order(settings)
    rows = ledger.read(collection)
    assert ledger.BEGUN not in [row.state for row in rows]
    path = ledger.in_production(rows)
    versions = MlflowClient().search_model_versions(f"name = '{collection}'")
    staged = [int(version.version) for version in versions if version.current_stage == "Production"]
    if expected is None:
        assert path == [] and staged == []
        with pytest.raises(NoProductionModel):
            registry.load_production(collection)
        with pytest.raises(NoProductionModel):
            services.production_version(settings, collection)
        return None
    version = path[-1].version
    assert staged == [version]
    assert registry.load_production(collection).version == version
    assert services.production_version(settings, collection) == str(version)
    assert answer(f"models:/{collection}/Production") == answer(f"models:/{collection}@champion") == expected
    return version


def actions(collection: str) -> list[tuple]:
    """What the ledger tells, the oldest first."""
    return [(row.action, row.state, row.version, row.replaced) for row in ledger.read(collection)]


# --- the play, killed -------------------------------------------------------------------------------------------------

# scene → what was done before (promoted answers; a number below 0 is a rollback), the action, what Production answers
# before and after, and the number of writes, before each of which it is killed
SCENES = {
    "the first promotion": ([], "promote", None, 1, 7),
    "a promotion": ([0], "promote", 0, 1, 6),
    "a refusal": ([0, 2], "refuse", 2, 2, 1),
    "a rollback": ([0, 2], "rollback", 2, 0, 5),
    "a promotion after a rollback": ([0, 2, -1], "promote", 0, 1, 6),
    "what was rolled back, again": ([0, 1, -1], "promote", 0, 1, 5),
    "a challenger, promoted": ([0, "challenger"], "promote", 0, 1, 6),
    "a challenger": ([0], "challenge", 0, 0, 4),
}


@pytest.mark.parametrize("scene", SCENES)
def test_killed_at_every_point(
    scene: str, database: str, killer: Callable[..., int], candidates: Candidates, servers: Settings
) -> None:
    before, action, old, new, writes = SCENES[scene]
    for kill_at in range(writes + 1):
        name = f"promotion_{database}_{next(counter)}"
        for step in before:
            if step == "challenger":
                promotion.challenge(name, evidence(candidates.runs[1]))
            elif step < 0:
                promotion.rollback(name, asked_by="a test")
            else:
                promotion.promote(name, evidence(candidates.runs[step]))
        rows = len(ledger.read(name))
        asked = {"asked_by": "killer"} if action == "rollback" else {"evidence": evidence(candidates.runs[1])}
        ended = killer(action, kill_at, collection=name, **asked)
        assert ended == (KILLED if kill_at < writes else 0), f"{kill_at} of {writes} writes"
        said = promotion.repair(name)
        begun = kill_at > 0 and action != "refuse"  # then it is finished
        assert bool(said) == (begun and kill_at < writes), (kill_at, said)
        assert not said or "was interrupted and is finished" in said[0]
        happened = begun or kill_at == writes
        assert len(ledger.read(name)) == rows + happened + len(said), "one row for what happened, one for its repair"
        check(servers, name, new if happened else old)
        aliases = promotion._aliases(MlflowClient(), name)
        challenged = happened if action == "challenge" else scene == "a challenger, promoted" and not happened
        assert ("challenger" in aliases) == challenged


def test_a_repair_killed_at_every_point(
    database: str, killer: Callable[..., int], candidates: Candidates, servers: Settings
) -> None:
    for kill_at in range(6):
        name = f"promotion_{database}_{next(counter)}"
        promotion.promote(name, evidence(candidates.runs[0]))
        assert killer("promote", 1, collection=name, evidence=evidence(candidates.runs[1])) == KILLED
        assert killer("repair", kill_at, collection=name) == (KILLED if kill_at < 5 else 0)
        promotion.repair(name)
        check(servers, name, 1)


def test_what_cannot_be_finished_is_undone(
    database: str, killer: Callable[..., int], candidates: Candidates, servers: Settings
) -> None:
    """Between kill and repair, the run is deleted."""
    name = f"promotion_{database}_{next(counter)}"
    promotion.promote(name, evidence(candidates.runs[0]))
    promised = copy_of(candidates.runs[1], candidates)
    model = MlflowClient().get_run(candidates.runs[1]).outputs.model_outputs[0].model_id
    MlflowClient().log_outputs(promised, [LoggedModelOutput(model, 0)])
    assert killer("promote", 1, collection=name, evidence=evidence(promised)) == KILLED
    MlflowClient().delete_run(promised)
    (sentence,) = promotion.repair(name)
    assert "cannot be finished, so it is undone" in sentence and promised in sentence
    check(servers, name, 0)
    assert actions(name)[-2:] == [("promotion", "undone", None, 1), ("repair", "done", 1, 1)]


def copy_of(run_id: str, candidates: Candidates) -> str:
    """Another run, with the tags of `run_id` and no model that could be registered."""
    run = MlflowClient().get_run(run_id)
    return MlflowClient().create_run(candidates.experiment, tags=run.data.tags).info.run_id


def test_two_at_once_come_one_after_the_other(
    database: str, candidates: Candidates, servers: Settings, tmp_path
) -> None:
    """Promotions and rollbacks by several processes: each finds what the one before has left."""
    name = f"promotion_{database}_{next(counter)}"
    promotion.promote(name, evidence(candidates.runs[0]))
    promotion.promote(name, evidence(candidates.runs[1]))
    children = []
    for number in range(4):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                if number % 2:
                    promotion.rollback(name, to_version=1 + number // 2, asked_by=str(number))
                else:
                    promotion.promote(name, evidence(candidates.runs[2 + number // 2]))
                code = 0
            except RegistryError as error:
                code = 0 if "is in Production already" in str(error) else 1
            finally:
                os._exit(code)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 4
    rows = ledger.read(name)
    for earlier, later in itertools.pairwise(rows):
        assert later.replaced == earlier.version and later.begun == later.id - 1, "nothing in between"
    last = rows[-1].version
    run = MlflowClient().get_model_version(name, str(last)).run_id
    check(servers, name, candidates.runs.index(run))


# --- rolling back -----------------------------------------------------------------------------------------------------


def test_back_twice_then_on_from_there(candidates: Candidates, collection: str, servers: Settings) -> None:
    for number in (0, 1, 2):
        promotion.promote(collection, evidence(candidates.runs[number]))
    for expected in (1, 0):
        promotion.rollback(collection, asked_by="someone")
        check(servers, collection, expected)
    with pytest.raises(RegistryError, match="Before version 1 no version"):
        promotion.rollback(collection, asked_by="someone")
    promotion.promote(collection, evidence(candidates.runs[3]))
    promotion.rollback(collection, asked_by="someone", reason="too high in June")
    check(servers, collection, 0)
    promotion.rollback(collection, to_version=3, asked_by="someone")  # forward, to what was rolled back
    assert check(servers, collection, 2) == 3
    promotion.rollback(collection, asked_by="someone")
    check(servers, collection, 0)
    promoted = [("promotion", 1, None), ("promotion", 2, 1), ("promotion", 3, 2)]
    back = [("rollback", 2, 3), ("rollback", 1, 2), ("promotion", 4, 1), ("rollback", 1, 4)]
    forward = [("rollback", 3, 1), ("rollback", 1, 3)]
    assert [(a, v, r) for a, _, v, r in actions(collection)] == promoted + back + forward
    row = ledger.read(collection)[6]
    assert (row.evidence.reason, row.evidence.asked_by) == ("too high in June", "someone")
    assert row.evidence.run_id == candidates.runs[0] and row.evidence.data_digest == "d" * 64
    stages = {v.version: v.current_stage for v in MlflowClient().search_model_versions(f"name = '{collection}'")}
    assert {str(v): stage for v, stage in stages.items()} == {"1": "Production", **dict.fromkeys("234", "Archived")}


def test_no_rollback_to_what_was_never_in_production(
    candidates: Candidates, collection: str, servers: Settings
) -> None:
    with pytest.raises(RegistryError, match=f"No version of {collection} is in Production"):
        promotion.rollback(collection, asked_by="someone")
    promotion.promote(collection, evidence(candidates.runs[0]))
    promotion.challenge(collection, evidence(candidates.runs[1]))
    before = actions(collection)
    for version, message in ((2, "was never in"), (7, "There is no version 7"), (1, "is in Production already")):
        with pytest.raises(RegistryError, match=message):
            promotion.rollback(collection, to_version=version, asked_by="someone")
    assert actions(collection) == before
    check(servers, collection, 0)


@pytest.mark.parametrize("gone", ["model code", "whole model", "predictions", "dataset", "MLmodel damaged"])
def test_nothing_is_written_when_the_target_cannot_be_used(
    gone: str, candidates: Candidates, collection: str, servers: Settings
) -> None:
    for number in (3, 4):
        promotion.promote(collection, evidence(candidates.runs[number]))
    before = actions(collection)
    client = MlflowClient()

    def folder(uri: str):
        return servers.ftp_root / uri.removeprefix(servers.artifact_root.removesuffix("artifacts"))

    run = client.get_run(candidates.runs[3])
    model = folder(client.get_logged_model(run.outputs.model_outputs[0].model_id).artifact_location)
    dataset = folder(client.get_run(candidates.dataset_run).info.artifact_uri)
    place = {
        "model code": model / "answer.py",
        "whole model": model,
        "predictions": folder(run.info.artifact_uri) / "predictions" / "window.parquet",
        "dataset": dataset / "dataset" / "table.parquet",
        "MLmodel damaged": model / "MLmodel",
    }[gone]
    aside = place.with_name(f"{place.name}.aside")
    place.rename(aside)
    if gone == "MLmodel damaged":
        place.write_bytes(b"\0\0")
    try:
        with pytest.raises(RegistryError, match=r"Version 1 of .* cannot be (used|loaded)"):
            promotion.rollback(collection, asked_by="someone")
    finally:
        place.unlink(missing_ok=True)
        aside.rename(place)
    assert actions(collection) == before
    check(servers, collection, 4)
    promotion.rollback(collection, asked_by="someone")  # with everything there again
    check(servers, collection, 3)


def test_no_promotion_of_what_was_not_compared_with_the_present_version(
    candidates: Candidates, collection: str, servers: Settings
) -> None:
    promotion.promote(collection, evidence(candidates.runs[0]), replaces=0)
    with pytest.raises(GateError, match=r"compared with version 0 .* but by now version 1 is in Production"):
        promotion.promote(collection, evidence(candidates.runs[1]), replaces=0)
    check(servers, collection, 0)
    promotion.promote(collection, evidence(candidates.runs[1]), replaces=1)
    check(servers, collection, 1)


# --- changed by hand --------------------------------------------------------------------------------------------------

BY_HAND = {
    "alias moved": lambda client, name: client.set_registered_model_alias(name, "champion", "1"),
    "alias removed": lambda client, name: client.delete_registered_model_alias(name, "champion"),
    "stage moved": lambda client, name: client.transition_model_version_stage(name, "1", "Production", True),
    "stage given to two": lambda client, name: client.transition_model_version_stage(name, "3", "Production", False),
    "archived": lambda client, name: client.transition_model_version_stage(name, "2", "Archived"),
    "promoted in the UI": lambda client, name: (
        client.transition_model_version_stage(name, "3", "Production", True),
        client.set_registered_model_alias(name, "champion", "3"),
    ),
}


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("change", BY_HAND)
def test_what_was_changed_by_hand_is_put_right_and_said(
    change: str, candidates: Candidates, collection: str, servers: Settings
) -> None:
    for number in (0, 1):
        promotion.promote(collection, evidence(candidates.runs[number]))
    promotion.challenge(collection, evidence(candidates.runs[2]))
    BY_HAND[change](MlflowClient(), collection)
    assert collection in services.out_of_order(servers)
    (sentence,) = promotion.repair(collection)
    assert "version 2 is in Production now, as the ledger has it" in sentence
    check(servers, collection, 1)
    last = ledger.read(collection)[-1]
    assert (last.action, last.version, last.evidence.reason) == ("repair", 2, sentence)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_ledger_begins_with_what_it_finds(candidates: Candidates, collection: str, servers: Settings) -> None:
    """In the state that older versions of DSGo have left, the last promotion of which was cut short before the alias."""
    client = MlflowClient()
    client.create_registered_model(collection)
    for number in (0, 1, 2):
        run = client.get_run(candidates.runs[number])
        model = client.get_logged_model(run.outputs.model_outputs[0].model_id)
        of = {name: run.data.tags[name] for name in promotion.KEPT_TAGS} | dict(model.tags)
        client.create_model_version(collection, model.model_uri, run.info.run_id, tags=of, model_id=model.model_id)
        client.transition_model_version_stage(collection, str(number + 1), "Production", True)
        if number < 2:
            client.set_registered_model_alias(collection, "champion", str(number + 1))
    assert collection not in services.out_of_order(servers), "neither a collection of the project nor in the ledger"
    (sentence,) = promotion.repair(collection)
    assert "version 2 was in Production before there was a ledger" in sentence
    check(servers, collection, 1)
    assert actions(collection) == [("found", "done", 1, None), ("found", "done", 2, 1)]
    with pytest.raises(mlflow.MlflowException, match="is or was in Production"):
        client.delete_model_version(collection, "1")
    promotion.rollback(collection, asked_by="someone")
    check(servers, collection, 0)


def test_a_ledger_whose_registry_is_lost(candidates: Candidates, collection: str, servers: Settings) -> None:
    """As when PostgreSQL has the ledger and `mlflow.db` an older state: what is left of the path counts."""
    promotion.promote(collection, evidence(candidates.runs[0]))
    gone = ledger.Entry(collection, "promotion", "done", "PROD", evidence("f" * 32), 2, 1)
    ledger.append(gone)
    (sentence,) = promotion.repair(collection)
    assert "version 2, in Production by the ledger, is not in the registry" in sentence
    check(servers, collection, 0)
    other = f"{collection}_empty"
    ledger.append(ledger.Entry(other, "promotion", "done", "PROD", evidence("f" * 32), 1))
    (sentence,) = promotion.repair(other)
    assert "no version is left" in sentence
    check(servers, other, None)


def test_a_rollback_begun_before_the_registry_was_lost_is_undone(
    candidates: Candidates, collection: str, servers
) -> None:
    """The number it goes to is no version any more, or by now that of another run."""
    promotion.promote(collection, evidence(candidates.runs[0]))
    promotion.promote(collection, evidence(candidates.runs[1]))
    for version, run in ((2, candidates.runs[2]), (7, candidates.runs[0])):
        ledger.append(ledger.Entry(collection, "rollback", "begun", "PROD", evidence(run), version, 2))
        (sentence,) = promotion.repair(collection)
        assert f"is undone: Version {version} of {collection} is not in the registry any more" in sentence
        check(servers, collection, 1)


def test_a_run_without_a_whole_model_is_not_promoted(candidates: Candidates, collection: str) -> None:
    client = MlflowClient()
    without_model = copy_of(candidates.runs[0], candidates)
    bare = client.create_run(candidates.experiment).info.run_id
    deleted = copy_of(candidates.runs[0], candidates)
    client.delete_run(deleted)
    for run in (without_model, bare, deleted, "0" * 32):
        with pytest.raises(RegistryError):
            promotion.promote(collection, evidence(run))
    assert actions(collection) == []


# --- of one part of the data ------------------------------------------------------------------------------------------


def test_the_model_of_a_part_is_registered_under_its_name_and_production_stays(
    candidates: Candidates, collection: str, servers: Settings
) -> None:
    promotion.promote(collection, evidence(candidates.runs[0]))
    rows = actions(collection)
    assert promotion.register(collection, candidates.runs[1], "2012-2013") == 2
    assert promotion.register(collection, candidates.runs[0], "2012") == 1  # the champion keeps its version
    assert answer(f"models:/{collection}@of-2012-2013") == 1
    assert answer(f"models:/{collection}@of-2012") == 0
    parts = {v.version: v.tags.get("dsgo.part") for v in MlflowClient().search_model_versions(f"name = '{collection}'")}
    assert {int(version): part for version, part in parts.items()} == {1: "2012", 2: "2012-2013"}
    check(servers, collection, 0)
    assert actions(collection) == rows, "nothing has changed that the ledger tells of"


def test_the_model_of_a_part_that_is_learned_anew_takes_the_name_over(candidates: Candidates, collection: str) -> None:
    """Also of a collection that has nothing in Production."""
    numbers = [promotion.register(collection, candidates.runs[number], "2013") for number in (0, 1, 1)]
    assert numbers == [1, 2, 2]
    assert promotion._aliases(MlflowClient(), collection) == {"of-2013": 2}
    with pytest.raises(NoProductionModel):
        registry.load_production(collection)


def test_a_run_without_a_model_is_not_registered_for_a_part(candidates: Candidates, collection: str) -> None:
    with pytest.raises(RegistryError, match="no model named 'model'"):
        promotion.register(collection, copy_of(candidates.runs[0], candidates), "2012")
    assert promotion._aliases(MlflowClient(), collection) == {}


# --- what deletes -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kept(candidates: Candidates) -> dict[str, str]:
    """A version that was in Production, one that is, and what they need; every name as requests have it."""
    name = f"promotion_kept_{next(counter)}"
    return deletions.two_in_production(name, candidates)


@pytest.mark.parametrize("interface", deletions.INTERFACES)
@pytest.mark.parametrize("request_name", deletions.REQUESTS)
def test_the_server_refuses_to_delete_what_is_or_was_in_production(
    request_name: str, interface: str, kept: dict[str, str], servers: Settings
) -> None:
    """As REST clients ask, and the UI."""
    deletions.refused(servers, kept, request_name, interface)
    assert MlflowClient().get_run(kept["was"]).info.lifecycle_stage == "active"


# What `mlflow` runs, once for each line of its input: it imports MLflow once, which takes longer than all the rest.
COMMANDS = """
import json, os, sys
from mlflow.cli import cli

for line in sys.stdin:
    arguments, tracking = json.loads(line)
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.dup2(writer, 1)
        os.dup2(writer, 2)
        os.environ["MLFLOW_TRACKING_URI"] = tracking
        cli(arguments)
    os.close(writer)
    with os.fdopen(reader) as output:
        said = output.read()
    print(json.dumps([os.waitstatus_to_exitcode(os.wait()[1]), said]), flush=True)
"""


def test_no_mlflow_command_takes_it_away(kept: dict[str, str], candidates: Candidates, servers: Settings) -> None:
    """Neither through the server, nor by opening its database; what was never in Production goes as ever."""
    client = MlflowClient()
    never = copy_of(candidates.runs[2], candidates)
    client.log_text(never, "text", "artifact.txt")
    database = f"sqlite:///{servers.tracking_database}"
    http = servers.tracking_uri
    refused = [
        (["runs", "delete", "--run-id", kept["was"]], http),
        (["experiments", "delete", "--experiment-id", kept["experiment"]], http),
        (["runs", "delete", "--run-id", kept["was"]], database),
        (["runs", "delete", "--run-id", kept["dataset"]], database),
        (["experiments", "delete", "--experiment-id", kept["experiment"]], database),
    ]
    gc = ["gc", "--backend-store-uri", database]
    with subprocess.Popen(
        [sys.executable, "-c", COMMANDS],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as process:

        def run(arguments: list[str], tracking: str) -> tuple[int, str]:
            process.stdin.write(json.dumps([arguments, tracking]) + "\n")
            code, said = json.loads(process.stdout.readline())
            return code, said

        for arguments, tracking in refused:
            code, said = run(arguments, tracking)
            assert code != 0 and "is or was in Production" in said, (arguments, said)
        for more in (["--run-ids", kept["was"]], ["--experiment-ids", kept["experiment"]]):
            code, said = run(gc + more, http)  # refused as what is not deleted
            assert code != 0 and "are not in the deleted" in said.replace("is not in `", "are not in the "), said
        assert run(["runs", "delete", "--run-id", never], http)[0] == 0
        code, said = run([*gc, "--run-ids", never], http)
        assert code == 0 and never in said, said
        process.stdin.close()
    with pytest.raises(mlflow.MlflowException, match="not found"):
        client.get_run(never)
    check(servers, kept["name"], 1)
    promotion.rollback(kept["name"], asked_by="someone")
    check(servers, kept["name"], 0)


def test_every_refusal_is_one_that_the_command_line_shows_as_a_sentence() -> None:
    assert issubclass(RegistryError, DSGoError) and issubclass(GateError, DSGoError)
