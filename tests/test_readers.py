"""Only listed modules may make calls that can run code from a file. Review each new call before you
list it.
"""

from __future__ import annotations

import ast
from pathlib import Path

from tests.test_layers import FILES

# The last two parts of a called or imported name.
_DANGEROUS = """
    torch.load export.load jit.load torch.hub package.PackageImporter pytorch.load_model
    pyfunc.load_model Image.open pickle marshal shelve dill joblib
    cloudpickle.load cloudpickle.loads np.load numpy.load yaml.load yaml.unsafe_load
    import_module importlib.import_module __import__ eval exec compile runpy os.system pydoc.locate
    get_class get_method instantiate utils.get_class utils.get_method utils.instantiate
"""
DANGEROUS = set(_DANGEROUS.split())
ALLOWED = {
    # weights only, from a file that was scanned first
    "lenet_exp.training.trained.ancestor": {"torch.load"},
    "lenet_exp.prediction.portable": {"export.load"},  # only a file that it has just written
    "lenet_exp.executors.local.pool": {"cloudpickle.loads"},  # messages from its own processes
    "lenet_exp.executors.local.worker": {"cloudpickle.loads"},
    # names from the user's configuration, or names that training/trained/trust.py accepts
    "lenet_exp.config.targets": {"import_module", "importlib.import_module"},
    "lenet_exp.config.own_code": {"import_module", "importlib.import_module"},
    # copies of own code, and what they import by literal name
    "lenet_exp.code_packages": {"importlib.import_module"},
    "lenet_exp.commands.ending": {"exec"},  # an empty string
    "lenet_exp.__main__": {"import_module", "importlib.import_module"},  # its own commands
    "lenet_exp.executors.queues": {"import_module", "importlib.import_module"},  # its own executors
    "lenet_exp.data.pictures": {"Image.open"},  # image formats only
    "lenet_exp.data.arrays": {"np.load"},  # without pickles
}


def dangerous(path: Path) -> set[str]:
    """Return the calls and imports of a file that can run code from other files."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            names.add(".".join(ast.unparse(node.func).split(".")[-2:]))
            if any(keyword.arg == "allow_pickle" for keyword in node.keywords):
                names.add("np.load")
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            last_part = node.module.rpartition(".")[2]
            names |= {f"{last_part}.{alias.name}" for alias in node.names}
    return names & DANGEROUS


def test_only_listed_modules_call_readers_that_can_run_code():
    calls = {}
    for module, path in FILES.items():
        names = dangerous(path)
        if names:
            calls[module] = names
    assert calls == ALLOWED


def test_torch_and_numpy_load_read_no_pickles():
    ancestor = FILES["lenet_exp.training.trained.ancestor"].read_text()
    assert ancestor.count("torch.load(") == 1
    assert ancestor.count("weights_only=True") == 1

    arrays = FILES["lenet_exp.data.arrays"].read_text()
    assert arrays.count("np.load(") == 1
    assert arrays.count("np.load(file, allow_pickle=False)") == 1
