"""Each network in networks.py trains, is refused before training, or fails in training."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lenet_exp.errors import ConfigError
from lenet_exp.training.check import check_config
from lenet_exp.training.fit import Divergence, fit
from lenet_exp.training.network import network_size, rebuild
from tests.training.small import configure, start

HERE = "tests.training.clumsy.networks"
WORKS = (
    "Net",
    "DoubleInside",
    "PartlyFrozen",
    "Tied",
    "CountingBuffer",
    "ConstantBuffer",
    "HarmlessCounter",
    "BatchNorm",
    "BatchStatistics",
    "OurDropout",
    "TrainInPlace",
    "KeywordForward",
    "HookedOutput",
    "HookedGradient",
    "SpectralNorm",
    "Scripted",
    "Compiled",
    "OwnCall",
    "Lock",
    "Getattr",
)
STATE = "unsaved state"
REFUSED = {  # the network and a part of the message, which names the rule that the network breaks
    "OneClassMore": "[2, 10]",
    "Tuple": "not a tuple",
    "Complex": "floating-point",
    "Double": "Double",
    "Brain": "is bfloat16",
    "ExtraState": "not a tensor, but a dict",
    "Idle": "idle.weight",
    "View": "reshape",
    "Frozen": "requires_grad",
    "Detached": "requires_grad",
    "Meta": "meta",
    "Lazy": "torch's global random state",
    "LateParameter": STATE,
    "PlainList": STATE,
    "RandomBuffer": STATE,
    "Counter": STATE,
    "FreshNumpyNoise": STATE,
    "PartialState": STATE,
    "ZeroState": STATE,
    "EvalCounter": "deterministic",
    "Dropout": "Dropout or RReLU",
    "FunctionalDropout": "torch's global random state",
    "EvalNoise": "torch's global random state",
    "LateNoise": "torch's global random state",
    "NumpyNoise": "NumPy's global random state",
    "PythonNoise": "Python's global random state",
    "EvalShape": "[2, 5]",
    "Squeezed": "[1, 10]",
    "EvalInPlace": "input",
    "EvalError": "no eval",
    "EvenBatches": "networks.py, line",
    "NoArguments": "positional argument",
    "NeedsArgument": "'width'",
    "Raises": "broken",
    "Huge": "memory",
    "Recursive": "recursion",
    "BrokenGradient": "no gradient",
    "NoModule": "subclass",
    "function": "subclass",
    "Absent": "Absent",
    "absent.Net": "PYTHONPATH",
    "BaseInForward": "Base: deep",
    "ExitInInit": "SystemExit: 0",
    "module_that_exits.Net": "SystemExit: 0",
    "RandomSize": "size mismatch for other.weight",
    "SpeechlessInInit": "Speechless, whose message cannot be shown",
}
FAILS = ("Nan", "NotSmall", "ExitInTraining", "BaseInTraining")


def own(name: str):
    target = name if "." in name else f"{HERE}.{name}"
    small = configure("dataset.train_size=70", "dataset.val_size=50", "batch_size=32")
    return replace(
        small,
        model={"_target_": target.replace("module_that_exits", f"{HERE[:-9]}.module_that_exits")},
    )


@pytest.mark.parametrize("name", WORKS)
def test_network_trains_and_saved_weights_give_same_logits(name):
    config = own(name)
    before = torch.random.get_rng_state()
    check_config(config)
    assert torch.equal(before, torch.random.get_rng_state())
    assert network_size(config).parameters > 0
    state, data = start(config)
    (result,) = fit(state, data)
    assert not isinstance(result, Divergence)
    images = data.images[data.val_index]
    with torch.inference_mode():
        assert torch.equal(
            rebuild(config, state.model.state_dict())(images), state.model.eval()(images)
        )


@pytest.mark.parametrize("name", REFUSED)
def test_network_gives_one_line_error_before_training(name):
    with pytest.raises(ConfigError) as caught:
        check_config(own(name))
    assert REFUSED[name] in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", FAILS)
def test_network_passes_the_check_but_fails_in_training(name):
    config = own(name)
    check_config(config)
    state, data = start(config)
    ended = None
    try:
        (ended,) = fit(state, data)
    except BaseException as e:
        ended = e  # its class is that of the copied code
    assert isinstance(ended, Divergence) or type(ended).__name__ in {
        "ValueError",
        "SystemExit",
        "Base",
    }
