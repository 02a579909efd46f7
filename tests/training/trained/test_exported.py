"""Export of trained networks: the weights of a traced program are replaced, bit for bit."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from lenet_exp.config.schema import Config
from lenet_exp.training.network import network_of, rebuild
from lenet_exp.training.trained.exported import export_trained
from tests.training.small import configure

OURS = ("convnet", "lenet5", "lenet5_1998", "lenet_300_100", "linear")
# the first has batch norm
OWN = ("tests.tools.networks.Residual", "tests.training.trained.test_exported.Counting")


class Numbered(nn.Module):
    """A linear network whose logits also depend on how many such networks were made before."""

    count = 0

    def __init__(self) -> None:
        super().__init__()
        Numbered.count += 1
        self.number = float(Numbered.count)
        self.fc = nn.Linear(1024, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(images.flatten(1)) + self.number


class Counting(nn.Module):
    """A linear network that counts its calls in a buffer, even in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(1024, 10)
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, images: Tensor) -> Tensor:
        self.calls.add_(1)
        return self.fc(images.flatten(1))


class Traces:
    """Counts calls of torch.export.export."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._export = torch.export.export
        monkeypatch.setattr(torch.export, "export", self._counted)

    def _counted(self, *arguments: object, **keywords: object) -> object:
        self.count += 1
        return self._export(*arguments, **keywords)  # type: ignore[arg-type]


def random_weights(config: Config, seed: int) -> dict[str, Tensor]:
    """Return weights and statistics that differ from the initial ones."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, initial in network_of(config).state_dict().items():
        if initial.is_floating_point():
            weights[name] = torch.rand(initial.shape, generator=generator)
        else:
            weights[name] = initial + seed
    return weights


def own_network(name: str) -> Config:
    return replace(configure(), model={"_target_": name})


@pytest.mark.parametrize("model", [*OURS, *OWN])
def test_each_network_is_traced_once_and_has_weights_of_each_run(model, monkeypatch):
    config = configure(f"model={model}") if model in OURS else own_network(model)
    images = torch.randn(5, 1, 32, 32, generator=torch.Generator().manual_seed(3))
    export_trained(config, random_weights(config, 1))
    traces = Traces(monkeypatch)

    for seed in (2, 3):
        weights = random_weights(config, seed)
        loaded = torch.export.load(io.BytesIO(export_trained(config, weights)))
        for name, value in weights.items():
            assert torch.equal(loaded.state_dict[name], value)
        with torch.inference_mode():
            logits = loaded.module()(images)
            expected = rebuild(config, weights)(images)
        assert torch.equal(logits, expected)

    assert traces.count == 0


def test_network_that_depends_on_more_than_weights_is_traced_again(monkeypatch):
    config = own_network("tests.training.trained.test_exported.Numbered")
    export_trained(config, random_weights(config, 1))
    traces = Traces(monkeypatch)

    torch.export.load(io.BytesIO(export_trained(config, random_weights(config, 2))))

    assert traces.count == 1
