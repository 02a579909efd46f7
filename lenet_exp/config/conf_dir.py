"""Where conf/ is, and the groups in it."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent
# In a wheel conf/ lies inside the package, in a checkout beside it.
CONF_DIR = next(
    (d for d in (PACKAGE / "conf", PACKAGE.parent / "conf") if (d / "train.yaml").is_file()), PACKAGE / "conf"
)


def config_groups() -> list[str]:
    """The folders of conf/: dataset, activation and so on."""
    return sorted(p.name for p in CONF_DIR.iterdir() if p.is_dir())
