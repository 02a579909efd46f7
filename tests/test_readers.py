"""Which calls can run what stands in a file, and where each may stand. A new one has to be thought about here."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.test_layers import FILES

# By the last two words of what is called, or of what is imported.
_DANGEROUS = """
    torch.load export.load jit.load torch.hub package.PackageImporter pytorch.load_model pyfunc.load_model Image.open
    pickle marshal shelve dill joblib cloudpickle.load cloudpickle.loads np.load numpy.load yaml.load yaml.unsafe_load
    import_module importlib.import_module __import__ eval exec compile runpy os.system pydoc.locate
    get_class get_method instantiate utils.get_class utils.get_method utils.instantiate
"""
DANGEROUS = set(_DANGEROUS.split())
ALLOWED = {
    "lenet_exp.training.trained.ancestor": {"torch.load"},  # weights only, of a file that was scanned before
    "lenet_exp.prediction.portable": {"export.load"},  # of the file that it wrote a moment ago
    "lenet_exp.executors.local.pool": {"cloudpickle.loads"},  # what its own processes sent
    "lenet_exp.executors.local.worker": {"cloudpickle.loads"},
    # what one's own configuration names, or training/trained/trust.py lets pass
    "lenet_exp.config.targets": {"import_module", "importlib.import_module"},
    "lenet_exp.__main__": {"import_module", "importlib.import_module"},  # its own commands
    "lenet_exp.executors.queues": {"import_module", "importlib.import_module"},  # its own executors
    "lenet_exp.data.pictures": {"Image.open"},  # formats of pixels alone
}


def dangerous(path: Path) -> set[str]:
    """What a file calls or imports that can run what it reads."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            found.add(".".join(ast.unparse(node.func).split(".")[-2:]))
            found |= {"np.load" for keyword in node.keywords if keyword.arg == "allow_pickle"}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module.rpartition('.')[2]}.{alias.name}" for alias in node.names}
    return found & DANGEROUS


def test_no_file_calls_what_runs_what_it_reads_but_where_it_was_thought_about():
    assert {module: found for module, path in FILES.items() if (found := dangerous(path))} == ALLOWED


@pytest.mark.parametrize(
    "line", ["torch.load(p)", "eval(x)", "f(p, allow_pickle=True)", "import pickle", "from torch import load"]
)
def test_it_would_be_found(line, tmp_path):
    (tmp_path / "file.py").write_text(line)
    assert dangerous(tmp_path / "file.py")


def test_torch_reads_weights_alone():
    text = FILES["lenet_exp.training.trained.ancestor"].read_text()
    assert text.count("torch.load(") == text.count("weights_only=True") == 1
