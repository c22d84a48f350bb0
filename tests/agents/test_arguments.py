"""policy_kwargs of an archive are checked, one by one, before any layer is made from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.torch_layers import CombinedExtractor, NatureCNN
from torch import nn

from pipeline import errors
from pipeline.agents import archive, pickles, policies

from .forging import kwargs, nest, nested_mappings, short
from .making import Case, Tiny, quickly
from .stubs import FOUR, SCALED

WEIGHT = "mlp_extractor.policy_net.0.weight"


def rebuilt(path: Path) -> Any:
    return policies.rebuild(archive.read(path))


# --- what is taken ---------------------------------------------------------------------------------


def test_net_arch_of_old_sb3_is_understood(forge: Callable[..., Path], made: Callable[[str], Tiny]) -> None:
    found = rebuilt(forge("ppo_tanh", policy_kwargs={"net_arch": [{"pi": [16], "vf": [8, 8]}]}))
    assert torch.equal(found.state_dict()[WEIGHT], made("ppo_tanh").loaded.policy.state_dict()[WEIGHT])


@pytest.mark.parametrize(
    "dropped",
    [{"device": "cuda"}, {"optimizer_class": torch.optim.SGD}, {"optimizer_kwargs": {"a": 1}}, {"sde_net_arch": None}],
    ids=lambda d: next(iter(d)),
)
def test_what_inference_never_uses_is_dropped(forge: Callable[..., Path], dropped: dict[str, Any]) -> None:
    assert rebuilt(forge(policy_kwargs=dropped)).device.type == "cpu"


@pytest.mark.parametrize(
    ("case", "given"),
    [
        ("ppo_box", {"log_std_init": np.float64(-0.5)}),
        ("ppo_box", {"ortho_init": np.bool_(False)}),
        ("qrdqn_discrete", {"n_quantiles": np.int64(200)}),
        ("ppo_of_image_default", {"features_extractor_kwargs": {"features_dim": np.int32(512)}}),
    ],
    ids=str,
)
def test_numbers_of_numpy_are_numbers(forge: Callable[..., Path], case: str, given: dict[str, Any]) -> None:
    assert rebuilt(forge(case, policy_kwargs=given))


def test_extractors_of_sb3_may_be_named(tmp_path: Path) -> None:
    given = {
        "features_extractor_class": NatureCNN,
        "features_extractor_kwargs": {"normalized_image": True, "features_dim": 16},
        "normalize_images": False,
    }
    tiny = Case("PPO", SCALED, FOUR, kwargs=given).save(tmp_path)
    inputs = tiny.inputs()
    assert (tiny.reference.predict(inputs)[0] == tiny.predict(inputs)).all()
    assert len(set(tiny.predict(inputs).tolist())) > 1


# --- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"banana": 1}, "policy_kwargs has 'banana', unknown to ActorCriticPolicy"),
        ({"activation_fn": "relu"}, "policy_kwargs.activation_fn is 'relu'; only torch.nn activations are supported"),
        ({"net_arch": [64, -5]}, "policy_kwargs.net_arch[1] = -5; want whole numbers 1..16384"),
        ({"net_arch": [0]}, "net_arch[0] = 0; want whole numbers"),
        ({"net_arch": [10**6]}, "net_arch[0] = 1000000; want whole numbers 1..16384"),
        ({"net_arch": ["64"]}, "net_arch[0] = '64'; want whole numbers"),
        ({"net_arch": [64.0]}, "net_arch[0] = 64.0; want whole numbers"),
        ({"net_arch": [True]}, "net_arch[0] = True; want whole numbers"),
        ({"net_arch": [[64]]}, "net_arch[0] = list; want whole numbers"),
        ({"net_arch": "64"}, "net_arch = '64'; want a list of whole numbers"),
        ({"net_arch": 64}, "net_arch = 64; want a list of whole numbers"),
        ({"net_arch": [1] * 65}, "want a list of whole numbers"),
        ({"net_arch": {"pi": [64], "vf": [-1]}}, "net_arch.vf[0] = -1; want whole numbers"),
        ({"net_arch": [64, {"pi": [64], "vf": [64]}]}, "net_arch shares layers between actor and critic (SB3 < 1.8)"),
        ({"squash_output": True}, "squash_output=True is only available when using gSDE"),
        ({"features_extractor_kwargs": {"x": 1}}, "unexpected keyword argument 'x'"),
        ({"features_extractor_kwargs": 5}, "policy_kwargs.features_extractor_kwargs is 5; want a mapping"),
        ({"features_extractor_kwargs": [8]}, "policy_kwargs.features_extractor_kwargs is list; want a mapping"),
        ({"features_extractor_class": NatureCNN}, "You should use NatureCNN only with images"),
        ({"features_extractor_class": CombinedExtractor}, "ActorCriticPolicy cannot be made from the archive"),
        ({"features_extractor_class": "NatureCNN"}, "policy_kwargs holds the features extractor 'NatureCNN'"),
        ({"features_extractor_class": 5}, "policy_kwargs holds the features extractor 5"),
        ({"activation_fn": None}, "cannot be made from the archive"),
        ({"activation_fn": 5}, "policy_kwargs.activation_fn is 5; only torch.nn activations are supported"),
        ({"normalize_images": "yes"}, "policy_kwargs.normalize_images is 'yes'; want true or false"),
        ({"share_features_extractor": 1}, "policy_kwargs.share_features_extractor is 1; want true or false"),
    ],
    ids=str,
)
def test_unfit_policy_kwargs_are_named(forge: Callable[..., Path], given: dict[str, Any], told: str) -> None:
    with pytest.raises(errors.UnsupportedPolicy) as refused:
        rebuilt(forge(policy_kwargs=given))
    assert told in refused.value.what


@pytest.mark.parametrize("function", [lambda x: x, lambda: nn.ReLU()])
def test_lambda_as_activation_is_refused_by_name(forge: Callable[..., Path], function: object) -> None:
    with pytest.raises(errors.PickleRefused, match=r"(?i)policy_kwargs.*_make_function.*allowed list"):
        rebuilt(forge(policy_kwargs={"activation_fn": function}))


@pytest.mark.parametrize("cls", [nn.Softmax, nn.MultiheadAttention, nn.Linear, torch.optim.Optimizer])
def test_other_classes_of_torch_are_refused_by_name(forge: Callable[..., Path], cls: type) -> None:
    with pytest.raises(errors.PickleRefused, match=cls.__name__):
        rebuilt(forge(policy_kwargs={"activation_fn": cls}))


AS_ACTIVATION = sorted(pair for pair in pickles.ALLOWED if not pair[0].startswith("gym."))


@pytest.mark.parametrize(("module", "name"), AS_ACTIVATION)
def test_allowed_name_in_the_wrong_place_is_harmless(forge: Callable[..., Path], module: str, name: str) -> None:
    """It is imported, and called without arguments."""
    try:
        rebuilt(forge(policy_kwargs=kwargs("activation_fn", f"c{module}\n{name}\n".encode())))
    except errors.SlipwayError:
        return
    assert module in ("torch.nn.modules.activation", "torch.nn.modules.linear")


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("torch.nn.functional", "relu"),
        ("torch.nn.modules.activation", "Softmax"),
        ("torch.nn.modules.activation.Tanh", "forward"),
        ("stable_baselines3.common.utils", "get_system_info"),
        ("stable_baselines3.no_such_module", "x"),
    ],
)
def test_name_that_a_lenient_reader_lets_through_is_not_imported(
    forge: Callable[..., Path], module: str, name: str
) -> None:
    """Only the features extractor may be the user's own."""
    path = forge(policy_kwargs=kwargs("activation_fn", f"c{module}\n{name}\n".encode()))
    with pytest.raises(errors.UnsupportedPolicy) as refused:
        policies.rebuild(archive.read(path, lenient=True), ("package.module:Class",))
    assert refused.value.what == (
        f"policy_kwargs.activation_fn is {module}.{name}; only torch.nn activations are supported"
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"policy_kwargs": {"features_extractor_class": nn.ReLU}},
        {"policy_kwargs": kwargs("activation_fn", b"cgym.spaces.box\nBox\n")},
    ],
    ids=["extractor", "absent package"],
)
def test_name_in_the_wrong_place_is_refused(forge: Callable[..., Path], fields: dict[str, Any]) -> None:
    with pytest.raises(errors.UnsupportedPolicy):
        rebuilt(forge(**fields))


class TooLarge(Exception):
    """A layer that the archive's weights cannot fill."""


@pytest.mark.parametrize(
    ("case", "given"),
    [("dqn_discrete", {"net_arch": [16_384] * 64}), ("td3_box", {"n_critics": 10**9})],
    ids=["68 GB of layers", "a thousand million critics"],
)
def test_description_cannot_make_more_layers_than_there_are_weights(
    forge: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, case: str, given: dict[str, Any]
) -> None:
    made_so_far = 0
    initialize = nn.Linear.__init__

    def limited(self: nn.Linear, inputs: int, outputs: int, *args: Any, **kwargs: Any) -> None:
        nonlocal made_so_far
        made_so_far += inputs * outputs
        if made_so_far > 10**7:
            raise TooLarge
        initialize(self, inputs, outputs, *args, **kwargs)

    monkeypatch.setattr(nn.Linear, "__init__", limited)
    with pytest.raises(errors.SlipwayError):
        rebuilt(forge(case, policy_kwargs=given))


@pytest.mark.parametrize(
    ("key", "value"),
    [("net_arch", nest(21)), ("activation_fn", nest(21)), ("net_arch", nested_mappings(20))],
    ids=["net_arch", "activation_fn", "net_arch of mappings"],
)
def test_nested_policy_kwargs_are_refused_at_once(forge: Callable[..., Path], key: str, value: bytes) -> None:
    path = forge(policy_kwargs=kwargs(key, value))
    with quickly(0.15), pytest.raises(errors.SlipwayError):
        rebuilt(path)


def test_net_arch_in_itself_is_refused(forge: Callable[..., Path]) -> None:
    with pytest.raises(errors.UnsupportedPolicy, match="net_arch"):
        rebuilt(forge(policy_kwargs=kwargs("net_arch", b"}q\x01" + short("a") + b"h\x01s")))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"lstm_hidden_size": 0}, "policy_kwargs.lstm_hidden_size = 0; want a whole number 1..16384"),
        ({"lstm_hidden_size": 10**9}, "policy_kwargs.lstm_hidden_size = 1000000000; want a whole number 1..16384"),
        ({"lstm_hidden_size": 8.0}, "policy_kwargs.lstm_hidden_size = 8.0; want a whole number"),
        ({"n_lstm_layers": 65}, "policy_kwargs.n_lstm_layers = 65; want a whole number 1..64"),
        ({"n_lstm_layers": True}, "policy_kwargs.n_lstm_layers = True; want a whole number"),
        ({"lstm_kwargs": {"proj_size": 4}}, "policy_kwargs.lstm_kwargs has 'proj_size'"),
        ({"lstm_kwargs": {"batch_first": True}}, "policy_kwargs.lstm_kwargs has 'batch_first'"),
        ({"lstm_kwargs": {"bidirectional": True}}, "policy_kwargs.lstm_kwargs has 'bidirectional'"),
        ({"lstm_kwargs": 5}, "policy_kwargs.lstm_kwargs is 5; want a mapping"),
        ({"lstm_hidden_size": 8, "shared_lstm": True}, "You must choose between shared LSTM"),
    ],
    ids=str,
)
def test_unfit_memory_is_named(forge: Callable[..., Path], given: dict[str, Any], told: str) -> None:
    with pytest.raises(errors.UnsupportedPolicy) as refused:
        rebuilt(forge("recurrentppo_box", policy_kwargs=given))
    assert told in refused.value.what


@pytest.mark.parametrize(
    ("case", "given"),
    [
        ("recurrentppo_box", {"lstm_hidden_size": 16_384, "n_lstm_layers": 64}),
        ("ppo_of_image", {"features_extractor_kwargs": {"features_dim": 10**9}}),
        ("ppo_of_image", {"features_extractor_kwargs": {"features_dim": -1}}),
        ("ppo_of_image", {"features_extractor_kwargs": {"features_dim": "many"}}),
        ("ppo_of_several", {"features_extractor_kwargs": {"cnn_output_dim": 10**9}}),
        ("qrdqn_discrete", {"n_quantiles": 10**9}),
        ("qrdqn_discrete", {"n_quantiles": 0}),
        ("td3_box", {"n_critics": 0}),
        ("td3_box", {"n_critics": 2.5}),
    ],
    ids=str,
)
def test_size_that_the_weights_do_not_hold_is_refused(
    forge: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, case: str, given: dict[str, Any]
) -> None:
    path = forge(case, policy_kwargs=given)
    monkeypatch.setattr(nn.Module, "__init__", _made)
    with pytest.raises(errors.WeightsUnfit):
        rebuilt(path)


def _made(*_: Any, **__: Any) -> None:
    raise TooLarge
