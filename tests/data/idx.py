"""Write IDX files, the format of MNIST and similar datasets, and PNG files, for small test
datasets.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

# the digest of KMNIST that made-up labels do not match
MADE_UP = "dataset.sha256.train-labels-idx1-ubyte=null"
CODES = {np.dtype("uint8"): 8, np.dtype("int32"): 12}


def write_idx(path: Path, values: np.ndarray) -> None:
    """Write an IDX file: two zero bytes, type, number of dimensions, each dimension, and the
    values, all big-endian.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(f">HBB{values.ndim}I", 0, CODES[values.dtype], values.ndim, *values.shape)
    path.write_bytes(header + values.astype(values.dtype.newbyteorder(">")).tobytes())


def pictures(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return n noisy 28x28 images of ten patterns, which a network can learn in one epoch, and
    their classes.
    """
    random = np.random.default_rng(seed)
    patterns = np.random.default_rng(1).integers(0, 200, (10, 7, 7)).repeat(4, 1).repeat(4, 2)
    labels = random.integers(0, 10, n)
    images = patterns[labels] + random.integers(0, 56, (n, 28, 28))
    return images.astype(np.uint8), labels.astype(np.uint8)


def write_mnist_like(root: Path, class_name: str, images: np.ndarray, labels: np.ndarray) -> Path:
    """Write a training set in the layout of MNIST, KMNIST, and FashionMNIST, and return the folder
    of its files.

    torchvision also requires test files. Here they are invalid, so that opening them is an error.
    """
    raw = root / class_name / "raw"
    write_idx(raw / "train-images-idx3-ubyte", images)
    write_idx(raw / "train-labels-idx1-ubyte", labels)
    for name in ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        (raw / name).write_text("test data, not for training")
    return raw


def write_qmnist(root: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    """Write a training set in QMNIST's layout, whose labels have 8 columns, the first of which is
    the class.
    """
    raw = root / "QMNIST" / "raw"
    # reading the wrong column or byte order is an error
    columns = np.full((len(labels), 8), 1_000_000, np.int32)
    columns[:, 0] = labels
    write_idx(raw / "qmnist-train-images-idx3-ubyte", images)
    write_idx(raw / "qmnist-train-labels-idx2-int", columns)
    for name in ("qmnist-test-images-idx3-ubyte", "qmnist-test-labels-idx2-int"):
        (raw / name).write_text("test data, not for training")
    return raw


def png(width: int, height: int, pixels: bytes, depth: int = 8, color: int = 0) -> bytes:
    """Return a PNG file, also of kinds that Pillow cannot write; the size and the pixels may
    contradict each other.
    """

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    )
