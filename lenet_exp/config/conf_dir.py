"""The path of the folder conf/ and the names of its config groups."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent
# conf/ is inside the package in a wheel and next to it in a checkout.
CONF_DIR = next(
    (d for d in (PACKAGE / "conf", PACKAGE.parent / "conf") if (d / "train.yaml").is_file()), PACKAGE / "conf"
)


def config_groups() -> list[str]:
    """Return the names of the config groups, which are the subfolders of conf/."""
    return sorted(p.name for p in CONF_DIR.iterdir() if p.is_dir())
