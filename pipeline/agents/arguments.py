"""policy_kwargs of an archive -> arguments that its policy class can be called with, each checked first."""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING, Any

from pipeline import errors
from pipeline.agents import records
from pipeline.agents.archive import Archive
from pipeline.agents.pickles import Name

if TYPE_CHECKING:
    import torch

ON_POLICY = ("PPO", "A2C", "TRPO")
MAX_UNITS = 16_384
MAX_LAYERS = 64


def resolved(archive: Archive, cls: type) -> dict[str, Any]:
    """policy_kwargs with classes resolved; what inference never uses (optimizer, device) is dropped."""
    known = inspect.signature(cls).parameters
    kwargs = {}
    for key, value in archive.policy_kwargs.items():
        if key in ("device", "optimizer_class", "optimizer_kwargs"):
            continue
        if key == "sde_net_arch" and key not in known:  # SB3 before 1.7; None was its only value that mattered
            continue
        if key not in known:
            raise errors.UnsupportedPolicy(f"policy_kwargs has '{key}', unknown to {cls.__name__}")
        kwargs[key] = _resolved(key, value)
    if archive.algorithm in ON_POLICY and archive.settings.get("use_sde"):
        kwargs["use_sde"] = True
    extractor = kwargs.get("features_extractor_class")
    if extractor is not None and getattr(extractor, "__name__", "") != "FlattenExtractor":
        named = getattr(extractor, "__name__", records.plain(extractor))
        raise errors.UnsupportedPolicy(f"the features extractor {named} is not supported")
    _check_size(kwargs, archive.weights)
    if "net_arch" in kwargs and archive.algorithm in ON_POLICY:
        kwargs["net_arch"] = _modern_net_arch(kwargs["net_arch"])
    return kwargs


def _resolved(key: str, value: Any) -> Any:
    if isinstance(value, Name) and value.module.startswith(("torch.nn.", "stable_baselines3.")):
        return getattr(importlib.import_module(value.module), value.name)
    if key == "activation_fn" and value is not None:
        found = records.plain(value)
        raise errors.UnsupportedPolicy(f"policy_kwargs.{key} is {found}; only torch.nn activations are supported")
    return value


def _check_size(kwargs: dict[str, Any], weights: dict[str, torch.Tensor]) -> None:
    """Hold sizes to the weights that are there, before any layer is made from them.

    :raises errors.UnsupportedPolicy: net_arch is no list of layers
    :raises errors.WeightsUnfit: the description asks for far more than the file holds
    """
    held = sum(tensor.numel() for tensor in weights.values())
    asked = _check_net_arch(kwargs.get("net_arch"), "policy_kwargs.net_arch")
    if asked > held:
        what = "policy_kwargs.net_arch asks for more weights than there are"
        raise errors.WeightsUnfit(what, expected=f"at most {held:,}", found=f"{asked:,}")
    for key, most in (("n_critics", len(weights)), ("n_quantiles", held)):
        if key in kwargs and not (type(kwargs[key]) is int and 0 < kwargs[key] <= most):
            found = records.plain(kwargs[key])
            raise errors.WeightsUnfit(f"policy_kwargs.{key} does not fit the weights", found=found)


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
