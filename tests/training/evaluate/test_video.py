import pytest

from training.evaluate.video import METHODS, check_methods


@pytest.mark.parametrize("methods", [["best"], ["flow0"], ["flow3_up"], ["convex", "convex"], []])
def test_unknown_methods_are_refused(methods):
    with pytest.raises(ValueError, match="methods must be"):
        check_methods(methods)
    methods = ["flow12_backward_any", *METHODS]
    assert check_methods(methods) == tuple(methods)
    with pytest.raises(ValueError, match="once each; got flow12_backward_any,ours"):
        check_methods(methods, flow=False)
