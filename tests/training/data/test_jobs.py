import pytest
from failing import refused

from training.data.jobs import run_jobs


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
