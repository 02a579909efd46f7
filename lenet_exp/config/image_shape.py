"""The shape of a dataset's images and the scaling of their pixels, as the network receives them."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from omegaconf import MISSING

from lenet_exp.config.schema import Dataset
from lenet_exp.errors import ConfigError

# Numbers of channels.
GRAY = 1
COLOR = 3
MOST_CLASSES = 1000


@dataclass(frozen=True, kw_only=True)
class ImageShape:
    """The shape of a network's input and output. The defaults are those of LeNet-5 on MNIST.

    Attributes:
        channels: 1 for gray images, 3 for color images.
        size: height and width of an image, in pixels.
        num_classes: number of logits, at most 1,000.
    """

    channels: int = GRAY
    size: int = 32
    num_classes: int = 10

    @classmethod
    def of(cls, dataset: Dataset) -> ImageShape:
        """Return the shape of a dataset's images.

        A network has at least 10 outputs unless `exact_classes` is set.

        Raises:
            ConfigError: `class_names` is null, because it has not been read from the dataset's
                files.
        """
        if dataset.class_names is None:
            raise ConfigError(
                f"dataset={dataset.name}: the names of its classes are unknown; "
                "set dataset.class_names"
            )

        num_classes = 0  # of models that the original script trained, which have no dataset
        if dataset.class_names != MISSING:
            num_classes = len(dataset.class_names)
        if not dataset.exact_classes:
            num_classes = max(num_classes, cls.num_classes)

        size = dataset.image_size or cls.size
        return cls(channels=dataset.channels, size=size, num_classes=num_classes)

    @property
    def is_standard(self) -> bool:
        """True if pixels are scaled to [-1, 1].

        If not, they are scaled by their mean and standard deviation.
        """
        return (self.channels, self.size) == (GRAY, ImageShape.size)

    @property
    def differences(self) -> dict[str, int]:
        """The attributes that differ from their defaults."""
        return {
            name: value
            for name, value in asdict(self).items()
            if value != getattr(ImageShape, name)
        }

    def batch(self, n: int) -> tuple[int, int, int, int]:
        """Return the shape of a tensor with `n` images."""
        return n, self.channels, self.size, self.size

    def __str__(self) -> str:
        """Describe the images: `gray images of 32x32 pixels`."""
        kind = "gray" if self.channels == GRAY else "color"
        return f"{kind} images of {self.size}x{self.size} pixels"


LENET5_SHAPE = ImageShape()


@dataclass(frozen=True)
class Normalization:
    """The mean and standard deviation by which pixels are scaled, for each channel.

    They are those of pixels from 0, black, to 1, white.
    """

    mean: list[float]
    sd: list[float]


STANDARD = Normalization([0.5], [0.5])  # scales gray pixels to [-1, 1]
