"""policy_kwargs of an archive -> arguments that its policy class can be called with, each checked first."""

from __future__ import annotations

import importlib
import inspect
import math
from typing import TYPE_CHECKING, Any

from pipeline import errors
from pipeline.agents import pickles, records, spaces
from pipeline.agents.archive import Archive, extractor_of
from pipeline.agents.pickles import Name, Record

if TYPE_CHECKING:
    import torch

ON_POLICY = ("PPO", "A2C", "TRPO", "MaskablePPO", "RecurrentPPO")
EXTRACTORS = ("FlattenExtractor", "NatureCNN", "CombinedExtractor")
MAX_UNITS = 16_384
MAX_LAYERS = 64
_OLD_CNN_UNITS, _CNN_UNITS = 512, 256  # features of NatureCNN alone, and of each inside CombinedExtractor
_LSTM_UNITS = 256
_FLAGS = ("normalize_images", "share_features_extractor", "squash_output", "shared_lstm", "enable_critic_lstm")


def resolved(archive: Archive, cls: type, allowed: tuple[str, ...] = ()) -> dict[str, Any]:
    """policy_kwargs with classes resolved; what inference never uses (optimizer, device) is dropped.

    :param allowed: installed classes that they may name besides SB3's and torch's, as ``package.module:Class``
    """
    known = inspect.signature(cls).parameters
    kwargs = {}
    for key, value in archive.policy_kwargs.items():
        if key in ("device", "optimizer_class", "optimizer_kwargs"):
            continue
        if key == "sde_net_arch" and key not in known:  # SB3 before 1.7; None was its only value that mattered
            continue
        if key not in known:
            raise errors.UnsupportedPolicy(f"policy_kwargs has '{key}', unknown to {cls.__name__}")
        kwargs[key] = _resolved(key, value, allowed)
    if archive.algorithm in ON_POLICY and archive.settings.get("use_sde") and "use_sde" in known:
        kwargs["use_sde"] = True
    _check_flags(kwargs)
    _check_mappings(kwargs)
    _check_lstm(kwargs)
    _check_size(archive, kwargs)
    if "net_arch" in kwargs and archive.algorithm in ON_POLICY:
        kwargs["net_arch"] = _modern_net_arch(kwargs["net_arch"])
    return kwargs


def _resolved(key: str, value: Any, allowed: tuple[str, ...]) -> Any:
    """A name imported: SB3's or torch's own, or what the config allows; plain values as they are."""
    if key == "features_extractor_class" and value is not None:
        return _extractor(value, allowed)
    value = _number(value)
    if key == "features_extractor_kwargs" and isinstance(value, dict):
        return {name: _argument(f"{key}.{name}", held, allowed) for name, held in value.items()}
    if isinstance(value, Name) and value.module.startswith(("torch.nn.", "stable_baselines3.")) and _known(value):
        return getattr(importlib.import_module(value.module), value.name)
    if key == "activation_fn" and value is not None:
        found = f"{value}"[:100] if isinstance(value, Name) else records.plain(value)
        raise errors.UnsupportedPolicy(f"policy_kwargs.{key} is {found}; only torch.nn activations are supported")
    if isinstance(value, Record):
        raise errors.UnsupportedPolicy(f"policy_kwargs.{key} is a {value.callee.name}, which is not supported")
    return value


def _number(value: Any) -> Any:
    """numpy's numbers as Python's."""
    scalar = isinstance(value, Record) and value.callee.name == "scalar"
    return records.array(value).item() if scalar else value


def _argument(where: str, value: Any, allowed: tuple[str, ...]) -> Any:
    """An argument of a features extractor: plain, an activation of torch, or a class that the config allows."""
    value = _number(value)
    if isinstance(value, Record):
        raise errors.UnsupportedPolicy(f"policy_kwargs.{where} is a {value.callee.name}, which is not supported")
    if not isinstance(value, Name):
        return value
    if f"{value.module}:{value.name}" in allowed:
        return _imported(value.module, value.name)
    if value.module.startswith("torch.nn.modules.") and _known(value):
        return getattr(importlib.import_module(value.module), value.name)
    found, path = f"{value}"[:100], f"{value.module}:{value.name}"[:100]
    raise errors.UnsupportedPolicy(
        f"policy_kwargs.{where} is {found}",
        expected=", ".join(["an activation of torch.nn", *allowed]),
        remedy=f'Set import_allowed = [..., "{path}"] in the config if its code is yours',
    )


def _imported(module: str, cls: str) -> Any:
    """A class that the config allows."""
    try:
        return getattr(importlib.import_module(module), cls)
    except Exception as error:  # whatever stands in the user's own module
        raise errors.UnsupportedPolicy(
            f"{module}:{cls} cannot be imported: {error}",
            remedy="Install its package where Slipway imports it (`python` in the config names an interpreter)",
        ) from None


def _known(name: Name) -> bool:
    """A lenient reader lets every name through."""
    return (name.module, name.name) in pickles.ALLOWED


def _extractor(value: Any, allowed: tuple[str, ...]) -> Any:
    """The features extractor's class; one that the archive holds by value is replaced by the user's installed one."""
    name, written = extractor_of(value)
    if isinstance(value, Name) and value.module == "stable_baselines3.common.torch_layers" and name in EXTRACTORS:
        return getattr(importlib.import_module(value.module), name)
    for path in allowed:
        module, _, cls = path.partition(":")
        if cls == name and written in ("", path):
            return _imported(module, cls)
    raise errors.UnsupportedPolicy(
        f"policy_kwargs holds the features extractor {name or records.plain(value)}",
        expected=", ".join([*EXTRACTORS, *allowed]),
        remedy=f'Set import_allowed = ["{written or f"package.module:{name}"}"] in the config if its code is yours',
    )


def _check_flags(kwargs: dict[str, Any]) -> None:
    for key in _FLAGS:
        if key in kwargs and not isinstance(kwargs[key], bool):
            raise errors.UnsupportedPolicy(f"policy_kwargs.{key} is {records.plain(kwargs[key])}; want true or false")


def _check_mappings(kwargs: dict[str, Any]) -> None:
    for key in ("features_extractor_kwargs", "lstm_kwargs"):
        if not isinstance(kwargs.get(key) or {}, dict):
            raise errors.UnsupportedPolicy(f"policy_kwargs.{key} is {records.plain(kwargs[key])}; want a mapping")


def _check_lstm(kwargs: dict[str, Any]) -> None:
    for key in ("lstm_hidden_size", "n_lstm_layers"):
        most = MAX_UNITS if key == "lstm_hidden_size" else MAX_LAYERS
        if key in kwargs and not (type(kwargs[key]) is int and 0 < kwargs[key] <= most):
            found = records.plain(kwargs[key])
            raise errors.UnsupportedPolicy(f"policy_kwargs.{key} = {found}; want a whole number 1..{most}")
    for key in kwargs.get("lstm_kwargs") or {}:
        if key not in ("bias", "dropout"):
            raise errors.UnsupportedPolicy(f"policy_kwargs.lstm_kwargs has '{key}'", expected="bias or dropout")


def _check_size(archive: Archive, kwargs: dict[str, Any]) -> None:
    """Hold sizes to the weights that are there, before any layer is made from them.

    :raises errors.UnsupportedPolicy: net_arch is no list of layers
    :raises errors.WeightsUnfit: the description asks for far more than the file holds
    """
    weights: dict[str, torch.Tensor] = archive.weights
    held = sum(tensor.numel() for tensor in weights.values())
    for key, most in (("n_critics", len(weights)), ("n_quantiles", held)):
        if key in kwargs and not (type(kwargs[key]) is int and 0 < kwargs[key] <= most):
            found = records.plain(kwargs[key])
            raise errors.WeightsUnfit(f"policy_kwargs.{key} does not fit the weights", found=found)
    _hold(_check_net_arch(kwargs.get("net_arch"), "policy_kwargs.net_arch"), held, "policy_kwargs.net_arch asks")
    if archive.algorithm == "RecurrentPPO":
        units, layers = kwargs.get("lstm_hidden_size", _LSTM_UNITS), kwargs.get("n_lstm_layers", 1)
        _hold(4 * layers * units**2, held, "the memory asks")
    features, asked = _features(archive, kwargs, held)
    _hold(asked, held, "the features extractor asks")
    _hold(max(features, _width(archive.action_space)), held, "the observation and action spaces ask")


def _hold(asked: int, held: int, who: str) -> None:
    if asked > held:
        raise errors.WeightsUnfit(
            f"{who} for more weights than there are", expected=f"at most {held:,}", found=f"{asked:,}"
        )


def _features(archive: Archive, kwargs: dict[str, Any], held: int) -> tuple[int, int]:
    """How many features an extractor of SB3 makes, and the least weights that it takes."""
    extractor = getattr(kwargs.get("features_extractor_class"), "__name__", "")
    several = archive.observation_space["type"] == "Dict"
    convolves = several or "Cnn" in archive.policy_class or extractor == "NatureCNN"
    options = kwargs.get("features_extractor_kwargs") or {}
    key, default = ("cnn_output_dim", _CNN_UNITS) if several else ("features_dim", _OLD_CNN_UNITS)
    images = convolves and any(map(spaces.is_image, spaces.parts(archive.observation_space).values()))
    units = options.get(key, default)
    if images and extractor in ("", *EXTRACTORS) and not (type(units) is int and 0 < units <= held):
        what = f"policy_kwargs.features_extractor_kwargs.{key}"
        raise errors.WeightsUnfit(f"{what} does not fit the weights", found=records.plain(units))
    width = asked = 0
    for part in spaces.parts(archive.observation_space).values():
        if convolves and spaces.is_image(part):
            sides = [((((n - 8) // 4 + 1) - 4) // 2 + 1) - 2 for n in part["shape"][1:]]
            width, asked = width + units, asked + 64 * max(sides[0], 0) * max(sides[1], 0) * units
        else:
            width += _width(part)
    return width, asked


def _width(space: dict[str, Any]) -> int:
    """Numbers of an observation, or outputs for an action; nothing is made of a size that may be forged."""
    if space["type"] == "Box":
        return len(space["low"])
    return math.prod(space["n"]) if space["type"] == "MultiBinary" else sum(spaces.groups(space))


def _check_net_arch(net_arch: Any, where: str, depth: int = 0) -> int:
    """Check it, and count the least weights that its layers take."""
    if net_arch is None:
        return 0
    if depth > 2 or not isinstance(net_arch, list | dict) or len(net_arch) > MAX_LAYERS:
        raise errors.UnsupportedPolicy(f"{where} = {records.plain(net_arch)}; want a list of whole numbers")
    if isinstance(net_arch, dict):
        return sum(_check_net_arch(layers, f"{where}.{key}", depth + 1) for key, layers in net_arch.items())
    asked, before = 0, 1
    for index, units in enumerate(net_arch):
        if isinstance(units, dict):
            asked += _check_net_arch(units, f"{where}[{index}]", depth + 1)
        elif type(units) is not int or not 0 < units <= MAX_UNITS:
            found = records.plain(units)
            raise errors.UnsupportedPolicy(f"{where}[{index}] = {found}; want whole numbers 1..{MAX_UNITS}")
        else:
            asked, before = asked + before * units, units
    return asked


def _modern_net_arch(net_arch: Any) -> Any:
    """``[dict(pi=…, vf=…)]`` of SB3 before 1.8 -> ``dict(pi=…, vf=…)``; shared layers are gone since."""
    if isinstance(net_arch, list) and net_arch and isinstance(net_arch[-1], dict):
        if len(net_arch) > 1:
            raise errors.UnsupportedPolicy("policy_kwargs.net_arch shares layers between actor and critic (SB3 < 1.8)")
        return net_arch[0]
    return net_arch
