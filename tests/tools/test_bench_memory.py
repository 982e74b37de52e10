import io

import pytest
from rich.console import Console

from savos_model.memory import process_bytes
from savos_model.results import read_results
from savos_ros.tools import bench_memory as bench
from savos_ros.tools.settings import BenchMemoryConfig


@pytest.mark.slow
def test_each_case_is_measured_in_its_own_process(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "CASES", (("640x480", 2),))
    out = tmp_path / "memory.json"
    report = bench.bench_memory(BenchMemoryConfig(frames=2, threads=1), out)
    assert read_results(out)["metrics"] == report
    (row,) = report["rows"]
    assert (row["image"], row["tracks"]) == ("640x480", 2)
    assert 20 < row["start_mib"] < row["peak_mib"] < 1000
    assert 0 < row["mask_mib"] < 1
    console = Console(file=io.StringIO(), width=100)
    bench.print_bench(report, console)
    assert "640x480" in console.file.getvalue()


def test_memory_of_this_process_is_read_by_name():
    assert 1 < process_bytes("VmRSS") <= process_bytes("VmHWM")
    with pytest.raises(OSError, match="VmNothing"):
        process_bytes("VmNothing")
