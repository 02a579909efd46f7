"""The copy of a user's own code: which files it contains, what changes its digest, and what is refused."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import get_type_hints

import pytest

from lenet_exp.code_text import blanked
from lenet_exp.config.own_code import KNOWN, UNSAVED, identity_of, import_class_module, refresh
from lenet_exp.config.targets import find_class
from lenet_exp.errors import ConfigError

NET = (
    "import torch\nfrom parts import shared\nclass Net(torch.nn.Module):\n    width, deep = shared.WIDTH, shared.deep\n"
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
    """A folder with a network, in files that import each other, and one file that the network does not import."""
    write(tmp_path, FILES)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    refresh()


def test_copy_contains_files_that_class_imports_directly_or_not(root):
    assert set(KNOWN[identity_of("mine.Net")].files) == FILES.keys() - {"unused.py"}


def test_class_is_imported_from_copy_and_each_version_stays_available(root):
    versions = []
    for width in (2, 3):
        write(root, {"parts/shared.py": SHARED.format(width)})
        versions.append(identity_of("mine.Net"))
    for name in FILES:
        (root / name).unlink()
    widths = [find_class("mine.Net", object, code).width for code in (*versions, *reversed(versions))]
    assert widths == [2, 3, 3, 2]


def test_import_in_a_function_uses_the_same_copy(root):
    write(root, {"late.py": "Y = 1\n"})
    import late

    nets = []
    for y in (2, 3):
        write(root, {"late.py": f"Y = {y}\n"})
        nets.append(find_class("mine.Net", object, identity_of("mine.Net")))
    assert [net.deep.er.later() for net in (*nets, *nets)] == [2, 3, 2, 3]
    assert (sys.modules.pop("late"), late.Y) == (late, 1)  # the user's own import stays


def test_module_of_copy_can_be_looked_up_by_its_classes(root):
    write(root, {"mine.py": "from __future__ import annotations\nclass Kind: ...\nclass Net:\n    kind: Kind\n"})
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
        {"first/space/net.py": "import part\nX = part.X\n", "first/part/__init__.py": "X = 1\n", "first/part.py": ""},
    ],
)
def test_files_are_found_where_python_finds_them(tmp_path, monkeypatch, files):
    write(tmp_path, files)
    for folder in ("second", "first"):
        monkeypatch.syspath_prepend(str(tmp_path / folder))
    code = KNOWN[identity_of("space.net.Net")]
    assert code.import_module("space.net").X == 1


CODE = 'def f():\n    """Return x."""\n    x = """a\n\n  # no comment"""  # why\n    return f"{x}#"\n'


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
    assert identity_of("json.decoder.Net") not in KNOWN


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
    write(root, {f"m{n}.py": "" for n in range(201)} | {name: text})
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
