import os

from failing import fails

from savos_model.network.weights import WeightsError
from savos_ros.node.adaptation_files import newest, node_folder


def test_folders_of_nodes_and_their_newest_file(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert node_folder("", "/front/savos") == tmp_path / "savos_ros/adapted/front/savos"
    with fails(WeightsError, "missing", str(tmp_path)):
        newest("")
    for age, (node, name) in enumerate([("savos", "a"), ("front/savos", "b"), ("savos", "c")]):
        path = node_folder("", node) / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (age, age))
    assert newest("").stem == "c" and newest("", "/front/savos").stem == "b"
