"""The models of `model=`: shapes, parameters, fingerprints, and invalid models."""

from __future__ import annotations

import inspect
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from lenet_exp.config.fingerprint import fingerprint, fingerprinted
from lenet_exp.config.params import params
from lenet_exp.config.schema import LENET5
from lenet_exp.config.targets import canonical_config, keywords
from lenet_exp.errors import ConfigError, UserError
from lenet_exp.package_files import CONF_DIR
from lenet_exp.sweeps.checks import check_one_sweep
from lenet_exp.tracking.models.model import registered_name
from lenet_exp.training.check import check_batches, check_config
from lenet_exp.training.engine import why_not_native
from lenet_exp.training.execution import use_threads
from lenet_exp.training.fit import fit
from lenet_exp.training.lenet5 import LeNet5
from lenet_exp.training.network import NetworkSize, count_parameters, network_of, network_size
from lenet_exp.training.trained.trust import check_network, foreign_class
from lenet_exp.training.trained.weights import weights_digest
from tests.training.small import configure, start, train

PARAMETERS = {
    "lenet5": 61_706,
    "lenet_300_100": 338_610,
    "linear": 10_250,
    "lenet5_1998": 60_000 + 850,
    "convnet": 8 * 9 + 8 * 9 * 16 + 16 * 9 * 16 + 2 * (8 + 16 + 16) + 170,
}
CONVOLVED = (
    28**2 * 25 * 6,
    10**2 * 25 * 60,
    48_000 + 10_080 + 840,
)  # C1, the sparse C3, and the later layers
MULTIPLY_ADDS = {
    "lenet5": 416_520,
    "lenet_300_100": 338_200,
    "linear": 10_240,
    "lenet5_1998": sum(CONVOLVED),
    "convnet": 32**2 * 8 * 9 + 16**2 * 8 * 9 * 16 + 8**2 * 16 * 9 * 16 + 160,
}
MODERN = {"_target_": "lenet_exp.training.convnet.ConvNet", "name": "convnet"}
OWN = {"_target_": "tests.tools.networks.Residual", "name": "residual", "maps": 3}


def own(model: dict[str, Any], *overrides: str):
    return replace(configure(*overrides), model=model)


def test_lenet5_yaml_has_defaults_of_class():
    defaults = {name: p.default for name, p in inspect.signature(LeNet5).parameters.items()}
    assert {name: defaults[name] for name in keywords("model", LENET5)} == keywords("model", LENET5)


@pytest.mark.parametrize("model", sorted(f.stem for f in (CONF_DIR / "model").glob("*.yaml")))
def test_bundled_model_has_expected_size_and_learns(model):
    state, results = train(
        f"model={model}", "num_epoch=3", "activation=tanh", "optimizer=adam", "optimizer.lr=0.01"
    )
    assert sum(p.numel() for p in state.model.parameters()) == PARAMETERS[model]
    assert results[-1].val_accuracy > 0.6
    size = NetworkSize(parameters=PARAMETERS[model], multiply_adds=MULTIPLY_ADDS[model])
    assert network_size(configure(f"model={model}", "activation=tanh")) == size
    assert count_parameters(configure(f"model={model}", "activation=tanh")) == PARAMETERS[model]


@settings(max_examples=40)
@given(
    channels=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    kernel=st.integers(1, 9),
    units=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    width=st.sampled_from([0.1, 0.4, 1, 1.7]),
    size=st.sampled_from([28, 32, 40]),
    in_channels=st.sampled_from([1, 3]),
    pooling=st.sampled_from(["max", "average"]),
)
def test_any_lenet_has_layers_given_by_options(
    channels, kernel, units, width, size, in_channels, pooling
):
    options = {
        "channels": channels,
        "kernel_size": kernel,
        "units": units,
        "width": width,
        "pooling": pooling,
    }
    dataset = replace(configure().dataset, image_size=size, channels=in_channels)
    config = replace(own(LENET5 | options), dataset=dataset)
    first = size - kernel + 1
    second = first // 2 - kernel + 1
    side = second // 2
    if side < 1:
        with pytest.raises(ConfigError, match="kernel_size"):
            count_parameters(config)
        return
    c1, c2, u1, u2 = (math.ceil(n * width) for n in (*channels, *units))
    weights = [
        in_channels * kernel**2 * c1,
        c1 * kernel**2 * c2,
        c2 * side**2 * u1,
        u1 * u2,
        u2 * 10,
    ]
    uses = weights[0] * first**2 + weights[1] * second**2 + sum(weights[2:])
    parameters = sum(weights) + c1 + c2 + u1 + u2 + 10
    assert network_size(config) == NetworkSize(parameters=parameters, multiply_adds=uses)
    assert count_parameters(config) == parameters
    assert network_of(config)(torch.zeros(2, in_channels, size, size)).shape == (2, 10)


@settings(max_examples=40)
@given(
    channels=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    kernel=st.sampled_from([1, 3, 5]),
    pooling=st.sampled_from(["max", "average", "stride"]),
    depthwise=st.booleans(),
    norm=st.booleans(),
    residual=st.booleans(),
    head=st.sampled_from(["global_average", "flatten"]),
    size=st.sampled_from([28, 31]),
)
def test_any_convnet_has_layers_given_by_options(
    channels, kernel, pooling, depthwise, norm, residual, head, size
):
    depthwise = depthwise and kernel > 1
    options = {
        "channels": channels,
        "kernel_size": kernel,
        "pooling": pooling,
        "depthwise": depthwise,
        "batch_norm": norm,
        "residual": residual,
        "head": head,
    }
    config = replace(
        own(MODERN | options), dataset=replace(configure().dataset, image_size=size, channels=3)
    )
    after, parameters, side, inputs = 2 if norm else 1, 0, size, 3  # a scale and a shift, or a bias
    for number, outputs in enumerate(channels):
        if depthwise and number:
            parameters += inputs * (kernel**2 + after) + outputs * (inputs + after)
        else:
            parameters += outputs * (inputs * kernel**2 + after)
        if residual and number and inputs != outputs:
            parameters += outputs * (inputs + after)
        if number < len(channels) - 1:
            side = (side + (pooling == "stride")) // 2
        inputs = outputs
    features = inputs * (side**2 if head == "flatten" else 1)
    assert (
        count_parameters(config)
        == network_size(config).parameters
        == parameters + 10 * features + 10
    )
    assert network_of(config)(torch.zeros(2, 3, size, size)).shape == (2, 10)


@pytest.mark.parametrize(("residual", "kernel", "norm"), [(False, 3, True), (True, 5, False)])
def test_blocks_of_convnet_compute_what_is_documented(residual, kernel, norm):
    options = {
        "channels": [4, 4],
        "kernel_size": kernel,
        "batch_norm": norm,
        "residual": residual,
        "downsample": [2],
    }
    network = network_of(
        replace(own(MODERN | options), activation={"_target_": "torch.nn.ReLU", "monotone": True})
    )
    state, images = network.eval().state_dict(), torch.randn(3, 1, 32, 32)

    def convolved(x: torch.Tensor, block: int) -> torch.Tensor:
        bias = state.get(f"blocks.{block}.layers.0.bias")
        y = F.conv2d(x, state[f"blocks.{block}.layers.0.weight"], bias, padding=kernel // 2)
        # the initial statistics are 0 and 1, so that pooling commutes
        return y / math.sqrt(1 + 1e-5) if norm else y

    first = convolved(images, 0).relu()
    second = (
        F.max_pool2d(convolved(first, 1), 2) + (F.max_pool2d(first, 2) if residual else 0)
    ).relu()
    logits = F.linear(second.mean((2, 3)), state["fc.weight"], state["fc.bias"])
    torch.testing.assert_close(network(images), logits)


def test_fingerprint_contains_only_differences_from_lenet5():
    digests = {"train": "a", "validation": "b"}
    config = configure()
    base = fingerprint(config, digests)
    assert "model" not in fingerprinted(config, digests)["settings"]
    for same in (
        LENET5 | {"width": 1},
        LENET5 | {"name": "mine"},
        {"_target_": LENET5["_target_"]},
    ):
        assert fingerprint(replace(config, model=same), digests) == base
    for other in ("model.width=2", "model.pooling=average", "model.units=[120,85]", "model=linear"):
        assert fingerprint(configure(other), digests) != base


def test_unused_options_are_not_part_of_effective_configuration():
    digests = {"train": "a", "validation": "b"}
    lines = (["activation=relu"], ["activation=leaky_relu", "regularization.dropout_rate=0.3"])
    one, other = (configure("model=linear", *line) for line in lines)
    assert fingerprint(one, digests) == fingerprint(other, digests)
    logged_params = params(canonical_config(other))
    assert logged_params["model"] == "linear"
    assert not [flag for flag in logged_params if flag.startswith("activation")]
    assert logged_params["regularization.dropout_rate"] == "0.0"


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        (["model=lenet5_1998"], "model=lenet5_1998"),
        (["model.width=5"], "64 channels"),
        (["model=lenet_300_100", "model.units=[9,9,9,9,9,9,9,9]"], "7 hidden layers"),
        (["model.kernel_size=4"], "model.kernel_size=4"),
        (["dataset.image_size=30"], "30x30"),
        ([f"dataset.class_names=[{','.join(f'c{i}' for i in range(129))}]"], "128 classes"),
        (["model.width=3.9", "model.kernel_size=7", "model.units=[1,1000]"], "None"),
    ],
)
def test_native_engine_refuses_unsupported_networks(overrides, why):
    assert why in str(why_not_native(configure(*overrides, "engine=auto")))


def test_own_network_with_strided_shortcut_trains_with_two_threads():
    # oneDNN crashes (AVX-512, channels-last) if the images of a batch cannot be divided evenly
    # among the threads.
    config = own(
        {"_target_": "tests.tools.networks.Strided"},
        "num_threads=2",
        "batch_size=31",
        "num_epoch=2",
    )
    try:
        state, data = start(config)
        results = list(fit(state, data))
    finally:
        use_threads(1, 1)
    assert results[1].train_loss < results[0].train_loss


@pytest.mark.parametrize("group", ["model", "activation", "optimizer", "loss", "metric"])
def test_option_without_class_gives_one_line_error(group):
    with pytest.raises(ConfigError, match=f"{group}: its option file must set _target_"):
        check_config(replace(configure(), **{group: {"name": "mine"}}))


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (LENET5 | {"kernel_size": 15}, "model.kernel_size=15"),
        (LENET5 | {"kernel_size": 2.5}, "model.kernel_size=2.5"),
        (LENET5 | {"channels": [0, 3]}, "model.channels=[0, 3]"),
        (LENET5 | {"channels": [2000, 3]}, "1,024"),
        (LENET5 | {"channels": []}, "model.channels=[]"),
        (LENET5 | {"units": [3]}, "model.units=[3]"),
        (LENET5 | {"pooling": "avg"}, "max, average"),
        (LENET5 | {"width": -1}, "model.width=-1"),
        (MODERN | {"channels": []}, "model.channels=[]"),
        (MODERN | {"channels": [8, 0]}, "model.channels=[8, 0]"),
        (MODERN | {"kernel_size": 33}, "model.kernel_size=33"),
        (MODERN | {"kernel_size": 4}, "odd"),
        (MODERN | {"kernel_size": 1, "depthwise": True}, "model.kernel_size=1"),
        (MODERN | {"channels": [1] * 8}, "downsample=[1, 2, 3, 4, 5, 6, 7]"),
        (MODERN | {"downsample": [4]}, "from 1 to 3"),
        (MODERN | {"downsample": "all"}, "model.downsample=all"),
        (MODERN | {"pooling": "mean"}, "max, average, stride"),
        (LENET5 | {"in_channels": 3}, "model.in_channels=3"),
        ({"_target_": "tests.tools.networks.Missing"}, "tests.tools.networks.Missing"),
        ({"_target_": "missing_module.Net"}, "PYTHONPATH"),
        ({"_target_": "torch.optim.SGD"}, "torch.optim.SGD"),
        ({"_target_": "torch.nn.Linear", "in_features": 4}, "out_features"),
    ],
)
def test_invalid_model_gives_one_line_error_before_training(option, says):
    with pytest.raises(ConfigError) as caught:
        check_config(own(option))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_own_activation_is_checked_in_bundled_models():
    noisy = {"_target_": "tests.tools.networks.Noisy", "name": "noisy", "monotone": False}
    with pytest.raises(ConfigError, match="activation=noisy: returns different logits"):
        check_config(replace(configure(), activation=noisy))


def test_record_with_untrusted_model_is_refused():
    check_network("it", configure("model=linear"), None)
    check_network("it", own(OWN), ["mine", "tests.tools.networks"])
    with pytest.raises(UserError, match="trust="):
        check_network("it", own(OWN), "tests.tools.network")
    assert foreign_class(own(OWN | {"_target_": "elsewhere.Net"})) == "elsewhere.Net"
    assert foreign_class(configure("model=linear")) is None


@pytest.mark.parametrize("group", ["model", "activation"])
def test_own_classes_with_same_name_in_sweep_are_refused(group):
    classes = {"model": ("Residual", "Strided"), "activation": ("Noisy", "Flat")}[group]
    options = [{"_target_": f"tests.tools.networks.{name}", "name": "mine"} for name in classes]
    configs = [replace(configure(), **{group: option}) for option in options]
    check_one_sweep([*configs[:1], replace(configs[0], **{group: options[0] | {"maps": 4}})])
    with pytest.raises(ConfigError, match=r"Residual.*Strided.*name:|Noisy.*Flat.*name:"):
        check_one_sweep(configs)


def test_class_of_own_network_is_a_param():
    assert params(canonical_config(own(OWN)))["model._target_"] == OWN["_target_"]
    assert not any(
        "_target_" in flag for flag in params(canonical_config(configure("model=linear")))
    )


def test_own_networks_are_registered_by_class_name():
    configs = [
        own(option)
        for option in (LENET5, OWN, OWN | {"name": "lenet5"}, LENET5 | {"name": "a.b/c"})
    ]
    names = [registered_name("mnist", config) for config in configs]
    assert names == ["lenet5-mnist", *["tests_tools_networks_Residual-mnist"] * 2, "a_b_c-mnist"]
    assert registered_name("mnist", configure("metric=macro_f1")) == "lenet5-mnist-macro_f1"


def test_initial_weights_of_own_network_depend_only_on_seed():
    def digest(seed: int) -> str:
        return weights_digest(start(own(OWN, f"seed={seed}"))[0].model.state_dict())

    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = digest(0)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert digest(0) == first != digest(1)
    assert weights_digest(network_of(own(OWN)).state_dict()) != first


def test_single_image_batch_is_refused_if_model_cannot_train():
    flat = {"_target_": "tests.tools.networks.Flat"}
    for size, images in ((32, 97), (1, 100)):
        with pytest.raises(ConfigError, match=f"batch_size={size}"):
            check_batches(own(flat, f"batch_size={size}"), images)
    check_batches(own(flat), 98)
    check_batches(own(OWN), 97)  # the batch norm averages over many pixels per image
    check_batches(configure(), 97)
    maps_of_one_pixel = MODERN | {"channels": [1] * 6, "downsample": [1, 2, 3, 4, 5]}
    with pytest.raises(ConfigError, match="batch_size=32"):
        check_batches(own(maps_of_one_pixel), 97)
