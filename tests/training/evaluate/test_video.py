import pytest
from failing import refused

from training.evaluate.video import METHODS, check_methods


@pytest.mark.parametrize("methods", [["best"], ["flow0"], ["flow3_up"], ["convex", "convex"], []])
def test_unknown_methods_are_refused(methods):
    with refused("methods"):
        check_methods(methods)
    methods = ["flow12_backward_any", *METHODS]
    assert check_methods(methods) == tuple(methods)
    with refused("methods") as info:
        check_methods(methods, flow=False)
    assert ",".join(methods) in str(info.value) and "flow" not in str(info.value).partition(";")[0]
