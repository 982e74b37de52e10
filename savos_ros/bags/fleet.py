"""Labels many bags: here, in worker processes, or on a Ray cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from savos_model.backends.engine_cache import engine_folder
from savos_model.hints import PIP
from savos_model.network.weights import find_weights, shipped_weights
from savos_model.progress import progress_bar
from savos_ros.bags.label import LabelJob, Labelled, bag_frames, finished, label_bag
from savos_ros.bags.settings import BagError, LabelOptions
from training.data.jobs import run_jobs


def label_bags(
    bags: Sequence[Path], out: Path, options: LabelOptions, *, processes: int = 1, ray: str = ""
) -> list[Labelled]:
    """Label every bag into a folder of its name under `out`; what is finished there is kept.

    One call at a time may write to `out`. `processes` are worker processes, 1 for this one. `ray`
    is the address of a Ray cluster that does the work instead ("auto": the one of this machine,
    "local": a separate one); bags and `out` must have the same paths on all its machines. Returns
    an entry per bag, in their order: the same masks wherever they were made.

    Raises BagError: two bags have one name, another call writes to `out`, or Ray is not available;
    WeightsError: there are no such weights.
    """
    jobs = _jobs(bags, out, options)
    out.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(out / ".lock", timeout=0):
            return _run(jobs, processes, ray)
    except Timeout:
        raise BagError(
            f"another `savos label` writes to {out}: wait, or give another --out", "busy"
        ) from None


def _jobs(bags: Sequence[Path], out: Path, options: LabelOptions) -> list[LabelJob]:
    names = [bag.stem if bag.is_file() else bag.resolve().name for bag in bags]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise BagError(f"two bags are called {twice[0]}: label them into two folders", "names")
    options = _placed(options)
    return [
        LabelJob(bag.resolve(), out.resolve() / name, options)
        for bag, name in zip(bags, names, strict=True)
    ]


def _placed(options: LabelOptions) -> LabelOptions:
    """Return the options with whole paths: workers of a cluster have another working directory."""
    backend = options.backend
    if backend.weights not in shipped_weights():
        backend = replace(backend, weights=str(find_weights(backend.weights).resolve()))
    if backend.engine_dir:
        backend = replace(backend, engine_dir=str(engine_folder(backend.engine_dir).resolve()))
    return replace(options, backend=backend)


def _run(jobs: list[LabelJob], processes: int, ray: str) -> list[Labelled]:
    done: dict[LabelJob, Labelled] = {}
    steps: dict[LabelJob, int] = {}
    for job in jobs:
        try:
            if found := finished(job):
                done[job] = found
                continue
            with bag_frames(job) as bag:
                passes = 2 if job.options.iterations else 1
                steps[job] = passes * bag.expected + job.options.iterations
        except (BagError, OSError) as error:
            done[job] = Labelled(job.folder.name, "failed", text=str(error))
    if steps:
        done |= _on_ray(steps, ray) if ray else _here(steps, processes)
    return [done[job] for job in jobs]


def _here(steps: dict[LabelJob, int], processes: int) -> dict[LabelJob, Labelled]:
    jobs = list(steps)
    try:
        found = run_jobs(label_bag, jobs, processes, sum(steps.values()), "labelling")
        return dict(zip(jobs, found, strict=True))
    except BrokenProcessPool:
        raise BagError(
            "a worker process was ended, mostly because memory ran out: run the command again with "
            "fewer --processes or less --memory-mb; finished bags are kept",
            "worker_ended",
        ) from None


def _on_ray(steps: dict[LabelJob, int], address: str) -> dict[LabelJob, Labelled]:
    """Run one task per bag; a machine that fails costs its bags alone, after Ray's own retries."""
    try:
        import ray
    except ModuleNotFoundError:
        raise BagError(f"ray is not installed: {PIP['ray']}, or leave --ray", "no_ray") from None
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise BagError(f"no Ray cluster at {address!r}: {error}", "no_ray") from None
    try:
        backend = next(iter(steps)).options.backend
        wants = {"CPU": backend.threads, "GPU": int(backend.device != "cpu")}
        _check_room(ray.nodes(), wants)
        task = ray.remote(num_cpus=wants["CPU"], num_gpus=wants["GPU"])(_task)
        places = {task.remote(job): job for job in steps}
        done: dict[LabelJob, Labelled] = {}
        with progress_bar() as bar:
            line = bar.add_task("labelling", total=sum(steps.values()))
            while waiting := [ref for ref, job in places.items() if job not in done]:
                for ref in ray.wait(waiting)[0]:
                    job = places[ref]
                    done[job] = _result(ray, ref, job)
                    bar.advance(line, steps[job])
        return done
    finally:
        ray.shutdown()


def _check_room(nodes: list[dict], wants: dict[str, int]) -> None:
    """Refuse what no machine can take: Ray would wait for such a machine for ever."""
    there = [node["Resources"] for node in nodes if node["Alive"]]
    if not any(all(node.get(kind, 0) >= count for kind, count in wants.items()) for node in there):
        needed = " and ".join(f"{count} {kind}" for kind, count in wants.items() if count)
        raise BagError(
            f"none of the {len(there)} machines of the Ray cluster has {needed}: lower --threads, "
            "change --device or add a machine",
            "no_room",
        )


def _result(ray: Any, ref: Any, job: LabelJob) -> Labelled:
    try:
        return ray.get(ref)
    except ray.exceptions.RayError as error:  # the worker died, or lacks this package
        text = str(error).strip().splitlines()
        return Labelled(job.folder.name, "failed", text=text[-1] if text else repr(error))


def _task(job: LabelJob) -> Labelled:
    import cv2

    cv2.setNumThreads(job.options.backend.threads)  # a task takes the cores that it asked for
    return label_bag(job, lambda count: None)
