# ruff: noqa: E402  (nothing below imports where torch is absent)
import pytest

torch = pytest.importorskip("torch")

from training.learn.averages import average_into
from training.learn.speed import has_bf16


@pytest.mark.parametrize(
    ("found", "expected"),
    [({"amx_bf16": True}, True), ({"avx512_bf16": True}, True), ({"avx2": True}, False)],
)
def test_bf16_is_used_where_the_processor_has_it(monkeypatch, found, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    assert has_bf16(torch.device("cpu")) is expected


def test_averaged_weights_move_by_the_same_share_in_every_tensor():
    net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 5))
    average = {name: torch.zeros_like(value) for name, value in net.state_dict().items()}
    average_into(average, net, 0.75)
    average_into(average, net, 0.75)
    for name, value in net.state_dict().items():
        torch.testing.assert_close(average[name], value * (1 - 0.75**2))
