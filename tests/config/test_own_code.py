"""The copy of a user's own code: which files it contains, what changes its digest, and what is
refused.
"""

from __future__ import annotations

import os
import pickle
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import get_type_hints

import pytest

from lenet_exp.code_text import blanked
from lenet_exp.config.own_code import (
    LOADED_CODE,
    UNSAVED,
    identity_of,
    import_class_module,
    refresh,
)
from lenet_exp.config.targets import find_class
from lenet_exp.errors import ConfigError
from lenet_exp.folders.code_folder import load_code

NET = (
    "import torch\nfrom parts import shared\n"
    "class Net(torch.nn.Module):\n    width, deep = shared.WIDTH, shared.deep\n"
)
SHARED = "from . import deep\nfrom .deep.er import X\nWIDTH = {}\n"
FILES = {
    "mine.py": NET,
    "parts/__init__.py": "",
    "parts/shared.py": SHARED.format(2),
    "parts/deep/er.py": "X = 'x'\ndef later():\n    import late\n    return late.Y\n",
    "late.py": "import numpy\nimport mine\nY = 2\n",
    "unused.py": "",
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a network, in files that import each other, and one file that the network does
    not import.
    """
    write(tmp_path, FILES)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    refresh()


def test_copy_contains_files_that_class_imports_directly_or_not(root):
    assert set(LOADED_CODE[identity_of("mine.Net")].files) == FILES.keys() - {"unused.py"}


def test_class_is_imported_from_copy_and_each_version_stays_available(root):
    versions = []
    for width in (2, 3):
        write(root, {"parts/shared.py": SHARED.format(width)})
        versions.append(identity_of("mine.Net"))
    for name in FILES:
        (root / name).unlink()

    first, second = versions
    widths = [find_class("mine.Net", object, code).width for code in (first, second, second, first)]
    assert widths == [2, 3, 3, 2]


def test_import_in_a_function_uses_the_same_copy(root):
    write(root, {"late.py": "Y = 1\n"})
    import late

    nets = []
    for y in (2, 3):
        write(root, {"late.py": f"Y = {y}\n"})
        nets.append(find_class("mine.Net", object, identity_of("mine.Net")))
    assert [net.deep.er.later() for net in (*nets, *nets)] == [2, 3, 2, 3]
    # the user's own import stays
    assert sys.modules.pop("late") is late
    assert late.Y == 1


def test_module_of_copy_can_be_looked_up_by_its_classes(root):
    code = "from __future__ import annotations\nclass Kind: ...\nclass Net:\n    kind: Kind\n"
    write(root, {"mine.py": code})
    net = find_class("mine.Net", object, identity_of("mine.Net"))
    assert [kind.__name__ for kind in get_type_hints(net).values()] == ["Kind"]
    assert pickle.loads(pickle.dumps(net)) is net


def test_copy_imports_no_module_that_it_does_not_contain(root):
    with pytest.raises(ImportError, match="not available"):
        import_class_module("this.Net", identity_of("mine.Net"))


@pytest.mark.parametrize(
    "files",
    [
        {
            "first/space/other.py": "",
            "second/space/net.py": "from space.part import X\n",
            "second/space/part.py": "X = 1\n",
        },
        {
            "first/space/net.py": "import part\nX = part.X\n",
            "first/part/__init__.py": "X = 1\n",
            "first/part.py": "",
        },
    ],
)
def test_files_are_found_where_python_finds_them(tmp_path, monkeypatch, files):
    write(tmp_path, files)
    for folder in ("second", "first"):
        monkeypatch.syspath_prepend(str(tmp_path / folder))
    code = LOADED_CODE[identity_of("space.net.Net")]
    assert code.import_module("space.net").X == 1


CODE = (
    'def f():\n    """Return x."""\n    x = """a\n\n  # no comment"""  # why\n    return f"{x}#"\n'
)


@pytest.mark.parametrize(
    "same",
    [
        CODE.replace("# why", "# because"),
        CODE.replace("Return x.", "Return a text.\n\n    It has several lines.\n    "),
        CODE.replace('    """Return x."""\n', ""),
        f"# a file\n\n\n{CODE}\n\n",
        CODE.replace("\n", "\r\n"),
    ],
)
def test_comments_docstrings_and_blank_lines_do_not_count(same):
    assert blanked(same) == blanked(CODE)


@pytest.mark.parametrize("part", ["a\n\n", "# no comment", "}#", "return", "    x"])
def test_other_text_counts(part):
    assert blanked(CODE.replace(part, f"{part} ", 1)) != blanked(CODE)
    assert blanked("x = 1 \\\n\n+ 2\n") != blanked("x = 1 \\\n+ 2\n")


def test_installed_class_is_identified_by_package_and_version(root):
    assert identity_of("hypothesis.strategies.Net").startswith("hypothesis ")
    assert identity_of("json.decoder.Net") not in LOADED_CODE


def test_class_without_file_has_another_identity_each_time():
    first = identity_of("__main__.Net")
    refresh()
    assert UNSAVED in first != identity_of("__main__.Net")


@pytest.mark.parametrize(
    ("name", "text", "named"),
    [
        ("parts/shared.py", "def f(:\n", "shared.py, line 1"),
        ("late.py", "x = '\x00'\n", "late.py"),
        ("late.py", "\n".join(f"import m{n}" for n in range(201)), "200 files"),
        ("late.py", f"x = '{'x' * 2**20}'\n", "1 MB"),
    ],
)
def test_code_that_cannot_be_copied_is_refused_in_one_line(root, name, text, named):
    empty_modules = {f"m{n}.py": "" for n in range(201)}
    write(root, empty_modules | {name: text})
    with pytest.raises(ConfigError) as refused:
        identity_of("mine.Net")
    assert str(refused.value).startswith("_target_=mine.Net: ")
    assert named in str(refused.value)
    assert "\n" not in str(refused.value)


def test_other_encoding_and_link_out_of_folder_are_refused(root, tmp_path_factory):
    (root / "late.py").write_bytes("x = 'é'\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"late\.py: cannot be read \('utf-8'"):
        identity_of("mine.Net")

    elsewhere = tmp_path_factory.mktemp("elsewhere") / "late.py"
    elsewhere.write_text("")
    (root / "late.py").unlink()
    (root / "late.py").symlink_to(elsewhere)
    with pytest.raises(ConfigError, match=r"late\.py is a symbolic link"):
        identity_of("mine.Net")


COMPILED = """
#include <Python.h>
static struct PyModuleDef module = {{PyModuleDef_HEAD_INIT, "{name}", NULL, -1, NULL}};
PyMODINIT_FUNC PyInit_{name}(void) {{
    PyObject *found = PyModule_Create(&module);
    PyModule_AddIntConstant(found, "WIDTH", {width});
    return found;
}}
"""


def compile_module(root: Path, name: str, width: int) -> None:
    """Compile a module that defines WIDTH, as a user would with Cython or pybind11."""
    headers = sysconfig.get_path("include")
    compiler = shutil.which("cc")
    if compiler is None or not Path(headers, "Python.h").is_file():
        pytest.skip("no C compiler or no headers of Python")

    source = root / f"{name}.c"
    source.write_text(COMPILED.format(name=name, width=width))
    flags = ["-shared", "-fPIC", f"-I{headers}"]
    if sys.platform == "darwin":
        flags += ["-undefined", "dynamic_lookup"]
    library = root / f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}"
    # a new file, because this process may have loaded the present one
    library.unlink(missing_ok=True)
    subprocess.run([compiler, *flags, str(source), "-o", str(library)], check=True)
    refresh()


def test_compiled_module_is_copied_and_each_version_stays_available(root):
    write(root, {"mine.py": "import fast\nclass Net:\n    width = fast.WIDTH\n"})
    versions = []
    for width in (2, 3):
        compile_module(root, "fast", width)
        versions.append(identity_of("mine.Net"))
    for file in root.glob("fast*"):
        file.unlink()
    (root / "mine.py").unlink()

    widths = [find_class("mine.Net", object, code).width for code in (*versions, *versions)]
    assert widths == [2, 3, 2, 3]


def test_compiled_module_is_preferred_to_python_file_of_same_name(root):
    write(root, {"mine.py": "import fast\nclass Net:\n    width = fast.WIDTH\n"})
    write(root, {"fast.py": "WIDTH = 1\n"})
    compile_module(root, "fast", 5)
    code = identity_of("mine.Net")
    assert find_class("mine.Net", object, code).width == 5
    assert {Path(name).name for name in LOADED_CODE[code].files} > {"fast.py", "mine.py"}


@pytest.mark.parametrize(
    "imports",
    [
        "import importlib\nlate = importlib.import_module('late')",
        "import importlib.util as other, importlib as lib\nlate = lib.import_module('late')",
        "from importlib import import_module as load\nlate = load(name='late')",
        "late = __import__('late')",
        "late = __import__('parts', fromlist=['late']).late",
        "import importlib\nlate = importlib.import_module('.late', 'parts')",
    ],
)
def test_import_by_function_with_literal_name_uses_the_copy(root, imports):
    file = "parts/late.py" if "parts" in imports else "late.py"
    network = f"{imports}\nclass Net:\n    y = late.Y\n"
    versions = []
    for y in (2, 3):
        write(root, {"mine.py": network, file: f"Y = {y}\n"})
        versions.append(identity_of("mine.Net"))

    values = [find_class("mine.Net", object, code).y for code in (*versions, *versions)]
    assert values == [2, 3, 2, 3]
    assert "late" not in sys.modules


def test_import_of_a_computed_name_is_named_with_its_line(root, caplog):
    lines = (
        "import importlib",
        "importlib.import_module('json')",
        "importlib.import_module('la' + 'te')",
        "class Net: ...",
    )
    write(root, {"mine.py": "\n".join(lines)})
    identity_of("mine.Net")
    (message,) = caplog.messages
    assert f"{root / 'mine.py'}, line 3: " in message


SHARED_STATE = {
    "state.py": "calls = []\n",
    "mine.py": "import state\nclass Net:\n    calls = state.calls\n",
    "losses.py": "import state\nclass Loss:\n    calls = state.calls\n",
}


def test_shared_module_belongs_to_the_version_of_the_run(root, outputs):
    """Two versions of a network use the same loss, as in a notebook in which a user edits the
    network.
    """
    write(root, SHARED_STATE)
    shared = []
    for version in (1, 2, 1):
        write(root, {"mine.py": f"{SHARED_STATE['mine.py']}    version = {version}\n"})
        codes = {target: identity_of(target) for target in ("mine.Net", "losses.Loss")}
        load_code(codes, outputs)
        net = find_class("mine.Net", object, codes["mine.Net"])
        loss = find_class("losses.Loss", object, codes["losses.Loss"])
        assert net.version == version
        assert net.calls is loss.calls
        shared.append(net.calls)

    first, second, third = shared
    assert third is first
    assert second is not first


def test_classes_of_different_folders_do_not_share_modules(tmp_path, monkeypatch, outputs):
    for name, value in (("first", 1), ("second", 2)):
        write(tmp_path, {f"{name}/{name}_net.py": "import part\nclass Net:\n    x = part.X\n"})
        write(tmp_path, {f"{name}/part.py": f"X = {value}\n"})
        monkeypatch.syspath_prepend(str(tmp_path / name))
    codes = {f"{name}_net.Net": identity_of(f"{name}_net.Net") for name in ("first", "second")}
    load_code(codes, outputs)
    assert [find_class(target, object, code).x for target, code in codes.items()] == [1, 2]


def test_submodule_imports_others_from_the_copy_in_the_outputs_folder(root, outputs):
    """Python's own finder would find the submodule in that folder."""
    code = identity_of("mine.Net")
    write(root, {"late.py": "Y = 100\n"})
    folder = outputs / "code" / code
    write(folder, {name: content.decode() for name, content in LOADED_CODE[code].files.items()})
    assert find_class("mine.Net", object, code).deep.er.later() == 2


@pytest.mark.parametrize("changed", ["mine.py", "parts", "parts/shared.py", "."])
def test_code_that_others_can_change_is_refused_with_repair(root, changed):
    for name in {changed, "late.py"}:
        mode = (root / name).stat().st_mode
        (root / name).chmod(mode | 0o020)
    refresh()

    with pytest.raises(ConfigError, match="can be changed by other users") as refused:
        identity_of("mine.Net")

    _, _, repair = str(refused.value).partition("run: ")
    subprocess.run(repair, shell=True, check=True)
    assert set(LOADED_CODE[identity_of("mine.Net")].files) == FILES.keys() - {"unused.py"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("name", ["late.py", "parts", "."])
def test_code_of_another_user_is_refused(root, name):
    path = root / name
    os.chown(path, 12345, -1)
    refresh()
    with pytest.raises(ConfigError, match=f"{re.escape(str(path))} belongs to another user"):
        identity_of("mine.Net")


def test_editable_install_is_not_checked(root, monkeypatch):
    """The folder of its code can belong to a colleague."""
    site = root / "site-packages"
    metadata = {"METADATA": "Name: mine\nVersion: 1.0\n", "top_level.txt": "mine\n"}
    write(site / "mine-1.0.dist-info", metadata)
    monkeypatch.syspath_prepend(str(site))
    (root / "late.py").chmod(0o666)
    assert identity_of("mine.Net") in LOADED_CODE
