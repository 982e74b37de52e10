"""Replace training.adapt.worker: behave as the file `does` in its folder requests."""

import sys
import time
from dataclasses import replace
from multiprocessing.connection import Connection

from savos_model.adaptation_link import file_of, name_of, receive, report
from savos_model.network.weights import save_weights
from training.adapt.worker import end_with_the_node

FIGURES = {
    "loss_before": 0.5,
    "loss_after": 0.25,
    "visible_iou_before": 0.75,
    "visible_iou_after": 0.875,
}


def main(descriptor):
    end_with_the_node(descriptor)
    connection = Connection(descriptor)
    start = receive(connection)
    does = (start.folder / "does").read_text()
    version = start.version

    def stay():
        time.sleep(3600)

    if does == "starting":
        stay()
    if does == "fail":
        report(connection, error="RuntimeError: no such device")
        return 1
    if does == "noise":
        connection.send_bytes(b"\x00\x01noise")
        stay()
    while True:
        report(connection, state="collecting")
        if does == "deaf":
            stay()
        frames = []
        while len(frames) < start.config.min_frames:
            frame = receive(connection)
            frames = [] if frame is None else [*frames, frame]
        stamps = [frame.stamp_ns for frame in frames]
        report(connection, state="adapting", iterations=len(frames))
        (start.folder / "stamps").write_text(" ".join(map(str, stamps)))
        if does in ("adapting", "checking"):
            report(connection, state=does)
            stay()
        version += 1
        name = name_of(start.base, version)
        arrays = {key: array * 0.5**version for key, array in start.base.arrays.items()}
        if does == "nan":
            arrays = {key: array * float("nan") for key, array in arrays.items()}
        if does == "shape":
            arrays.popitem()
        if does == "rollback":
            report(connection, decision="rolled_back", reason="worse", **FIGURES)
            stay()
        save_weights(
            file_of(start.folder, name), replace(start.base, name=name, arrays=arrays), "float32"
        )
        if does == "number":
            version += 5
        report(connection, decision="accepted", reason="better", version=version, **FIGURES)
        if does == "once":
            stay()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
