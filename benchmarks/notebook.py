"""Execute docs/tutorials/first_hour.ipynb in an empty folder, and save its outputs with neutral
paths.

Run `python -m benchmarks.notebook` after editing the cells in the notebook.
"""

from __future__ import annotations

import copy
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

NOTEBOOK = Path(__file__).parents[1] / "docs" / "tutorials" / "first_hour.ipynb"
HOME = "/home/me/first_hour"  # path that replaces the folder in which the notebook was executed
SECONDS = 600  # time limit for each cell


def executed(notebook: Path, folder: Path) -> Any:
    """Execute a notebook in a folder, with the current Python interpreter, and return it with its
    outputs.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    import nbformat
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    content = nbformat.read(notebook, as_version=4)
    manager = AsyncKernelManager(kernel_name="python3")
    arguments = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    manager._kernel_spec = KernelSpec(argv=arguments, display_name="Python 3", language="python")
    client = NotebookClient(
        content,
        timeout=SECONDS,
        startup_timeout=SECONDS,
        km=manager,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    environment = {"COLUMNS": "110"}
    for name, value in os.environ.items():
        if name != "COLUMNS" and not name.startswith(("MLFLOW_", "LENET_EXP_OUTPUTS")):
            environment[name] = value
    client.execute(env=environment)
    return content


def neutral(notebook: Any, folder: Path) -> Any:
    """Remove paths, times, and warnings that are specific to this machine from a notebook and
    return the result.
    """
    kept = copy.deepcopy(notebook)
    kept.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}
    }
    for cell in kept.cells:
        cell.metadata = {}
        # Standard error contains only warnings from libraries on this machine.
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        for output in cell.get("outputs", []):
            output.pop("metadata", None)
            if output.output_type in {"display_data", "execute_result"}:
                output["metadata"] = {}
    text = json.dumps(kept, indent=1, ensure_ascii=False, sort_keys=True)
    for name in {str(folder), str(folder.resolve())}:
        text = text.replace(json.dumps(name)[1:-1], HOME)
    return json.loads(re.sub(r"\\u001b\[[0-9;]*m", "", text))


def main() -> None:
    """Execute the notebook and save it with its outputs."""
    with tempfile.TemporaryDirectory() as folder:
        done = neutral(executed(NOTEBOOK, Path(folder)), Path(folder))
    NOTEBOOK.write_text(json.dumps(done, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
