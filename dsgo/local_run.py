"""Dagster goes through a job: of one part of the data in this process, of several in two processes side by side.

They are processes, as two threads that let Dagster begin a run wait for each other for ever: it sets up logging anew,
within locks of its own.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

from dsgo import executors
from dsgo.errors import StepError
from dsgo.settings import Settings

PARTS_AT_ONCE = 2
Through = Callable[[Mapping[str, str]], list[str]]


def one(
    settings: Settings, flow_file: Path, job: str, order: Mapping[str, str], said: Mapping[str, str], at_once: int = 0
) -> list[str]:
    """Let Dagster run the job within this process.

    Args:
        order: see `dsgo.flow.Order`.
        said: tags of Dagster's run.
        at_once: steps that may run at the same time; 0 for as many as one pipeline may have.

    Returns:
        The keys of the steps that failed.
    """
    import dagster as dg

    from dsgo.flow import dagster_instance, job_reference

    with dagster_instance(settings) as instance:
        result = dg.execute_job(
            job_reference(flow_file, job),
            instance=instance,
            run_config={
                "resources": {"order": {"config": dict(order)}},
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                "execution": {"config": {"at_once": at_once or executors.at_once(settings)}},
            },
            tags=dict(said),
            raise_on_error=False,
        )
        return [event.step_key for event in result.all_events if event.is_step_failure]


def several(
    settings: Settings, parts: Sequence[str], do: Callable[[str, Through], list[str]], through: partial
) -> list[str]:
    """Let Dagster run a job for several parts, the first ones first. They share the steps that may run at the same time.

    Args:
        do: function from a part, and what has Dagster go through the job with the tags that it is given, to the steps that
            failed; called in threads.
        through: `one` with the arguments before the tags.

    Returns:
        The steps that failed, of all parts.

    Raises:
        StepError: one of the processes was killed. No further part has been begun.
    """
    from dsgo.flow import dagster_instance

    with dagster_instance(settings) as instance:  # two that make its databases at the same moment would collide
        instance.get_runs_count()
        instance.event_log_storage.get_maximum_record_id()
    share = max(1, executors.at_once(settings) // PARTS_AT_ONCE)
    killed = threading.Event()
    spawn = multiprocessing.get_context("spawn")  # this process has threads
    with (
        ProcessPoolExecutor(PARTS_AT_ONCE, spawn, _on_its_own) as processes,
        ThreadPoolExecutor(PARTS_AT_ONCE) as lanes,
    ):

        def in_a_process(said: Mapping[str, str]) -> list[str]:
            try:
                return processes.submit(_beside, partial(through, at_once=share), said).result()
            except BrokenProcessPool as error:
                killed.set()
                remedy = "Run again: finished steps are reused."
                raise StepError("one of two processes", "was killed.", remedy) from error

        def lane(part: str) -> list[str]:
            return [] if killed.is_set() else do(part, in_a_process)

        ended = [lanes.submit(lane, part) for part in parts]
        try:
            return [step for each in as_completed(ended) for step in each.result()]
        except BaseException:
            lanes.shutdown(wait=False, cancel_futures=True)
            raise


def _beside(through: Through, said: Mapping[str, str]) -> list[str]:
    """`one`, in a thread: in the main one Dagster would take the signal that ends this process for itself, and go on."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(through, said).result()


def _on_its_own() -> None:
    """Leave Ctrl-C to the pipeline's process, which ends this one, and end when that one is gone without a word."""
    os.setsid()
    pipeline = multiprocessing.parent_process()

    def end() -> None:
        pipeline.join()
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()
