"""Nothing unpickles: a search through the sources, and an attack on every reader."""

import ast
import contextlib
import io
import pickle
import zipfile
from pathlib import Path

import pytest

from tests.fuzz.readers import READERS
from tests.trap import trap

ROOT = Path(__file__).parents[2]
RESTRICTED = ROOT / "training" / "data" / "safe_pickle.py"
UNPICKLERS = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
BY_NAME = {reader.name: reader for reader in READERS}


def sources():
    folders = ("savos_model", "savos_ros", "training", "launch", "scripts")
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert len(found) > 100
    return [path for path in found if path != RESTRICTED]


def faults(tree):
    """Return lines that import an unpickler, or call code that may unpickle."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            names = []
        if any(name.partition(".")[0] in UNPICKLERS for name in names):
            yield node.lineno, "imports an unpickler"
        if not isinstance(node, ast.Call):
            continue
        call = ast.unparse(node.func)
        given = {key.arg: ast.unparse(key.value) for key in node.keywords}
        if call == "torch.load" and given.get("weights_only") != "True":
            yield node.lineno, "torch.load without weights_only=True"
        if call.endswith("np.load") and given.get("allow_pickle", "False") != "False":
            yield node.lineno, "np.load with allow_pickle"
        if call in ("yaml.load", "yaml.unsafe_load", "yaml.full_load", "eval", "exec", "os.system"):
            yield node.lineno, call
        if call.endswith(("connection.recv", "connection.send")) or given.get("shell") == "True":
            yield node.lineno, f"{call} pickles, or a shell string"


def test_sources_unpickle_nothing():
    found = [
        f"{path.relative_to(ROOT)}:{line}: {what}"
        for path in sources()
        for line, what in faults(ast.parse(path.read_text()))
    ]
    assert not found


def test_the_search_finds_what_it_looks_for():
    bad = "import pickle\nfrom dill import loads\ntorch.load(x)\nnp.load(x, allow_pickle=True)\n"
    bad += "yaml.load(x)\nself._connection.recv()\nrun(x, shell=True)\n"
    assert [line for line, _ in faults(ast.parse(bad))] == list(range(1, 8))


def npy(trap):
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + trap


def archive(trap):
    """As torch.save and np.savez write it."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        for name in ("frames", "full", "visible", "order", "shape"):
            file.writestr(f"{name}.npy", npy(trap))
        file.writestr("state/data.pkl", trap)
        file.writestr("state/version", "3\n")
    return made.getvalue()


@pytest.mark.parametrize("form", [bytes, npy, archive])
@pytest.mark.parametrize("name", BY_NAME)
def test_a_pickle_given_to_a_reader_leaves_no_trace(name, form, tmp_path):
    reader = BY_NAME[name]
    (tmp_path / "data").mkdir()
    path = reader.write(tmp_path / "data")
    path.write_bytes(form(pickle.dumps(trap(tmp_path / "run"), 2)))
    with contextlib.suppress(*reader.errors):  # a message that is none is not for the reader
        reader.read(path)
    assert not (tmp_path / "run").exists()
    pickle.loads(pickle.dumps(trap(tmp_path / "run"), 2))  # the attack is real
    assert (tmp_path / "run").exists()
