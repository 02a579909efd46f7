"""A picture of what augmentation makes of the training images. Without matplotlib: workers draw it."""

from __future__ import annotations

import io

import torch
from PIL import Image

from lenet_exp.config.schema import Augmentation
from lenet_exp.data.images import TrainingData
from lenet_exp.training.augmentation import sample

ROWS = VERSIONS = 8
PAD, ENLARGED = 2, 3  # pixels between images; how many times larger than they are
GREY = 0.25


def augmented_picture(data: TrainingData, options: Augmentation, seed: int) -> bytes:
    """PNG of up to 8 training images, of different classes where there are enough: left the image, right 8 versions."""
    labels = data.labels[data.train_index].tolist()
    first = [labels.index(label) for label in sorted(set(labels))]
    others = [i for i in range(min(2 * ROWS, len(labels))) if i not in first]
    images = data.images[data.train_index[(first + others)[:ROWS]]]
    rows = sample(images, options, seed, VERSIONS)
    n, columns, side, _ = rows.shape
    framed = torch.full((n, columns, side + PAD, side + PAD), GREY)
    framed[..., :side, :side] = ((rows + 1) / 2).clamp(0, 1).cpu()
    sheet = framed.permute(0, 2, 1, 3).reshape(n * (side + PAD), columns * (side + PAD))
    gap = torch.full((len(sheet), 2 * PAD), GREY)
    sheet = torch.cat([sheet[:, : side + PAD], gap, sheet[:, side + PAD :]], dim=1)[:-PAD, :-PAD]
    picture = Image.fromarray((sheet * 255).round().to(torch.uint8).numpy())
    out = io.BytesIO()
    picture.resize((picture.width * ENLARGED, picture.height * ENLARGED), Image.Resampling.NEAREST).save(out, "PNG")
    return out.getvalue()
