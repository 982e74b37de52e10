import pytest
from failing import refused

from training.data.jobs import START_STEPS, run_jobs, threads_each, worker_count


def double(job, tick):
    tick(1)
    if job < 0:
        raise ValueError("negative job")
    return 2 * job


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.slow
def test_jobs_keep_their_order_and_errors_come_through(processes):
    assert run_jobs(double, [3, 1, 2], processes, 3, "x") == [6, 2, 4]
    with pytest.raises(ValueError, match="negative job"):
        run_jobs(double, [3, -1], processes, 2, "x")


def test_no_processes_are_refused():
    with refused("processes", "bounds"):
        run_jobs(double, [1], 0, 1, "x")


def test_all_cores_are_used_where_it_pays(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3})
    assert worker_count(7, 2, 1) == 7, "as asked"
    assert worker_count(0, 12, 10_000) == 4
    assert worker_count(0, 3, 10_000) == 3, "one per job"
    assert worker_count(0, 12, 2 * START_STEPS) == 2
    assert worker_count(0, 12, 10) == 1 and worker_count(0, 0, 0) == 1
    assert [threads_each(2, processes) for processes in (1, 2, 3, 8)] == [2, 2, 1, 1]
