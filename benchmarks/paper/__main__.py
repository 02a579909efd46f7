"""Train small sweeps, write each kind of figure and table, and compile a two-column paper with
them.

  python -m benchmarks.paper FOLDER

The folder gets `paper.pdf`. This requires pdflatex, and FashionMNIST and MNIST in `$LENET_EXP_DATA`
or `data`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

DATA = [
    "dataset.train_size=5000",
    "dataset.val_size=2000",
    "batch_size=64",
    "training.clip_norm=1",
    "tracking.models=none",
]
RATES = "optimizer.lr=0.01,0.03,0.1,0.2"
GRID = ["dataset=fashion_mnist", "activation=relu,selu,tanh", RATES, "num_epoch=8"]
NETWORKS = [
    "dataset=mnist,fashion_mnist,digits",
    "model=lenet5,lenet5_1998,lenet_300_100,linear",
    "num_epoch=4",
]
WIDTHS = ["dataset=mnist", "model.width=0.25,0.5,1,2", "activation=relu,selu", "num_epoch=4"]
SEARCH = [
    "dataset=fashion_mnist",
    "hydra/sweeper=search",
    "optimizer.lr=interval(0.001,0.3)",
    "n_trials=20",
]
SEARCH += ["activation=relu,selu,tanh", "num_epoch=6", "search.seed=1"]
SMALL = ["dataset.train_size=1000", "dataset.val_size=500", *DATA[2:]]  # digits has 1,797 images
SWEEPS = {
    "grid": [*GRID, *DATA],
    "networks": [*NETWORKS, *SMALL],
    "widths": [*WIDTHS, *DATA],
    "search": [*SEARCH, *DATA],
}
FILES = {
    "leaderboard.pdf": ("grid",),
    "curves.pdf": ("grid", "figure=curves"),
    "interaction.pdf": ("grid", "figure=interaction", "flags=activation,optimizer.lr"),
    "parameters.pdf": ("widths", "figure=parameters"),
    "history.pdf": ("search", "figure=history"),
    "wide.pdf": ("grid", "figure=interaction", "figure.width=17"),
    "table.tex": ("grid", "columns=accuracy,n"),
    "full.tex": ("widths",),
    "matrix.tex": ("grid", "matrix=activation,optimizer.lr"),
    "datasets.tex": ("networks", "matrix=model,dataset"),
}


def main() -> None:
    """Make the paper in the folder that the command line names."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for name, flags in SWEEPS.items():
        seeds = [] if name == "search" else [f"seed=range({5 if name == 'grid' else 3})"]
        _command(folder / name, "train", "-m", *flags, *seeds)
    for file, (sweep, *flags) in FILES.items():
        _command(folder / sweep, "compare", f"output={folder / file}", *flags)
    shutil.copy(Path(__file__).with_name("paper.tex"), folder)
    for _ in range(2):  # the second time with the numbers of the figures
        subprocess.run(
            ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
            cwd=folder,
            check=True,
        )


def _command(outputs: Path, *arguments: str) -> None:
    environment = os.environ | {"LENET_EXP_OUTPUTS": str(outputs)}
    subprocess.run([sys.executable, "-m", "lenet_exp", *arguments], env=environment, check=True)


if __name__ == "__main__":
    main()
