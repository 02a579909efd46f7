"""Prints pip constraints that pin every dependency to the oldest release that pyproject.toml
allows.
"""

import re
import tomllib
from pathlib import Path

AT_HAND = {"torch", "torchvision"}
project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
requirements = project["dependencies"] + project["optional-dependencies"]["test"]
for requirement in (r for r in requirements if ";" not in r):  # those of a newer Python
    name, oldest = re.fullmatch(r"([\w-]+)(?:\[\w+\])?>=([\d.]+).*", requirement).groups()  # type: ignore[union-attr]
    if name not in AT_HAND:
        print(f"{name}=={oldest}")
