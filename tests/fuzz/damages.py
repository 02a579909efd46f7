"""What may have become of a file: by a crash, a full disk, a bad sector, an editor, another release or a joke."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

RAW = "raw:"  # such a text stands for what JSON's writer would not write
ODD: list[Any] = [
    None, True, -1, 0, 7, 1.5, 2**63, -(10**30), 10**400, "", "seven", "../../x", "/dev/zero", "\ud800", "\x1b[2J\0\n",
    [], {}, [7], [[]], {"a": {"b": [None]}},
    *(RAW + text for text in ("NaN", "-Infinity", "1e400", "9" * 5000, "[" * 9000)),
]  # fmt: skip


def apply(how: str, path: Path, chance: random.Random) -> None:
    """Damages a file, or a folder that a folder's reader expects; `how`: of `WAYS`."""
    if how in CONTENTS:
        if path.is_file():
            path.write_bytes(CONTENTS[how](path.read_bytes(), chance))
        return
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    KINDS[how](path)


def _flip(held: bytes, chance: random.Random) -> bytes:
    """One bit; of a safetensors file mostly in its header."""
    found = bytearray(held)
    if found:
        most = len(found) if chance.random() < 0.3 else min(len(found), 3000)
        found[chance.randrange(most)] ^= 1 << chance.randrange(8)
    return bytes(found)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each item that is in a dictionary or a list, at any depth: which, and its key."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(item, dict | list):
            yield from _places(item)


def _replace(inside: Any, key: Any, chance: random.Random) -> None:
    inside[key] = chance.choice(ODD)


def _remove(inside: Any, key: Any, chance: random.Random) -> None:
    del inside[key]


def _near(inside: Any, key: Any, chance: random.Random) -> None:
    """A value of the same type."""
    value = inside[key]
    if isinstance(value, str):
        inside[key] = value[:-1] + "x" if value else "x"
    elif isinstance(value, int | float) and not isinstance(value, bool):
        inside[key] = value + chance.choice([-1, 1, 1000])
    elif isinstance(value, list):
        inside[key] = value[:-1] if value and chance.random() < 0.5 else [*value, *value[:1]]
    elif isinstance(value, dict):
        inside[key] = {f"{name}x": item for name, item in value.items()}
    else:
        inside[key] = chance.choice([1, "x"]) if value is None else not value


def _later(inside: Any, key: Any, chance: random.Random) -> None:
    """A key that a later release has."""
    if isinstance(inside, dict):
        inside[f"new_{chance.randrange(9)}"] = chance.choice(ODD)


def _json(change: Callable[[Any, Any, random.Random], None]) -> Callable[[bytes, random.Random], bytes]:
    """Changes one item of a JSON file, of a line of jobs.jsonl, or of a safetensors file's header."""

    def changed(held: bytes, chance: random.Random) -> bytes:
        head, body, tail = b"", held, b""
        if held[8:9] == b"{":
            size = int.from_bytes(held[:8], "little")
            body, tail = held[8 : 8 + size], held[8 + size :]
        elif held.count(b"}\n{"):
            lines = held.splitlines(keepends=True)
            n = chance.randrange(len(lines))
            head, body, tail = b"".join(lines[:n]), lines[n], b"".join(lines[n + 1 :])
        try:
            value = json.loads(body)
        except ValueError:
            return _flip(held, chance)
        found = _changed(value, change, chance)
        if held[8:9] == b"{":
            return len(found).to_bytes(8, "little") + found + tail
        return head + found + b"\n" + tail

    return changed


def _changed(value: Any, change: Callable[[Any, Any, random.Random], None], chance: random.Random) -> bytes:
    inner = value.get("__metadata__", {}) if isinstance(value, dict) else {}
    if "record" in inner and chance.random() < 0.7:  # what lenet_exp reads of a model file
        record = json.loads(inner["record"])
        inner["record"] = _changed(record, change, chance).decode()
    elif isinstance(value, dict | list) and value:
        # Of each top-level item as often as of any other: a confusion matrix has most of the items.
        inside, key = value, chance.choice(list(value) if isinstance(value, dict) else range(len(value)))
        if isinstance(value[key], dict | list) and value[key] and chance.random() < 0.7:
            inside, key = chance.choice(list(_places(value[key])))
        change(inside, key, chance)
    else:
        value = chance.choice(ODD)
    text = json.dumps(value)
    for raw in [item for item in ODD if isinstance(item, str) and item.startswith(RAW)]:
        text = text.replace(json.dumps(raw), raw.removeprefix(RAW))
    return text.encode()


CONTENTS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "empty": lambda held, chance: b"",
    "truncated": lambda held, chance: held[: chance.randrange(len(held) + 1)],
    "NUL": lambda held, chance: bytes(len(held)),
    "NUL from somewhere": lambda held, chance: held[: (at := chance.randrange(len(held) + 1))] + bytes(len(held) - at),
    "flipped": _flip,
    "twice": lambda held, chance: held + held,
    "not UTF-8": lambda held, chance: held.replace(b"e", b"\xff\xfe", 1),
    "other JSON": lambda held, chance: chance.choice([b"{}", b"[]", b"null", b"7", b'"x"', b"NaN", b"\xef\xbb\xbf{}"]),
    "deep JSON": lambda held, chance: b"[" * 100_000,
    "another value": _json(_replace),
    "a near value": _json(_near),
    "a missing value": _json(_remove),
    "a later release": _json(_later),
}
KINDS: dict[str, Callable[[Path], object]] = {
    "gone": lambda path: None,
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "a folder with something": lambda path: (path / "x").mkdir(parents=True),
    "loop": lambda path: path.symlink_to(path.name),
    "link to nothing": lambda path: path.symlink_to("nothing"),
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
    "text": lambda path: path.write_text("seven"),
}
JSON_WAYS = ("another value", "a near value", "a missing value", "a later release")
WAYS = (*CONTENTS, *JSON_WAYS, *KINDS)  # those twice
