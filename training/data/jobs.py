"""Run jobs over processes with one progress bar."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

from savos_model.progress import progress_bar
from savos_model.settings import SettingError

Tick = Callable[[int], None]
Function = Callable[[Any, Tick], Any]
START_STEPS = 150  # a process does about so many while a further one starts


def worker_count(processes: int, jobs: int, steps: int) -> int:
    """Return the number of processes for jobs of so many steps together.

    `processes` if it is not 0; else one per usable core, at most one per job, and one process
    without workers where starting them takes longer than they save.
    """
    return processes or max(1, min(usable_cores(), jobs, steps // START_STEPS))


def threads_each(threads: int, processes: int) -> int:
    """Return the threads of each of so many processes, of `threads` for one process alone."""
    return threads if processes == 1 else max(1, min(threads, usable_cores() // processes))


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def run_jobs(
    function: Function, jobs: Sequence[Any], processes: int, steps: int, text: str
) -> list[Any]:
    """Return the results of jobs in their order, the same for any number of processes.

    `function` is importable and takes a job, which must be picklable, and tick; it calls tick(k)
    after every k of all `steps`, which the progress bar with label `text` shows. One process runs
    the jobs here, more share them out to fresh processes.

    Raises:
        SettingError: processes below 1.
        Exception: the first error of a job; jobs that have not begun are dropped.
    """
    if processes < 1:
        text = f"processes must be at least 1, got {processes}: 1 runs without workers"
        raise SettingError(text, "bounds")
    with progress_bar(transient=True) as progress:
        task = progress.add_task(text, total=steps)
        if processes == 1 or not jobs:
            return [function(job, lambda count: progress.advance(task, count)) for job in jobs]
        return _in_processes(function, jobs, processes, lambda count: progress.advance(task, count))


def _in_processes(function: Function, jobs: Sequence[Any], processes: int, tick: Tick) -> list[Any]:
    context = multiprocessing.get_context("spawn")
    with (
        context.Manager() as manager,
        ProcessPoolExecutor(min(processes, len(jobs)), mp_context=context) as pool,
    ):
        steps = manager.Queue()
        counter = threading.Thread(target=_count, args=(steps, tick))
        counter.start()
        futures = [pool.submit(_work, function, job, steps) for job in jobs]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        finally:
            steps.put(None)
            counter.join()
        return [future.result() for future in futures]


def _work(function: Function, job: Any, steps: Any) -> Any:
    import cv2

    cv2.setNumThreads(1)  # the processes share the cores already
    return function(job, steps.put)


def _count(steps: Any, tick: Tick) -> None:
    for count in iter(steps.get, None):
        tick(count)
