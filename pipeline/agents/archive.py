"""Stable-Baselines3's ``.zip``, read without executing what is in it."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import errors
from pipeline.agents import pickles, records, tensors, zips

if TYPE_CHECKING:
    import torch

VERSION = "_stable_baselines3_version"
MEMBERS = ("data", "policy.pth", VERSION)
MAX_DATA = 1 << 24  # as JSON, a byte can take twenty of memory


@dataclass(frozen=True)
class Archive:
    """What an archive says of its agent.

    :param algorithm: name of SB3's class, recognised from the archive
    :param policy_class: full name of the policy's class
    :param policy_kwargs: its keyword arguments; classes are :class:`pickles.Name`
    :param observation_space: as the contract describes spaces
    :param action_space: as the contract describes spaces
    :param settings: the algorithm's plain attributes (numbers, texts, flags)
    :param version: Stable-Baselines3 that saved it, or "unknown"
    :param weights: the policy's state_dict
    """

    algorithm: str
    policy_class: str
    policy_kwargs: dict[str, Any]
    observation_space: dict[str, Any]
    action_space: dict[str, Any]
    settings: dict[str, Any]
    version: str
    weights: dict[str, torch.Tensor]


def algorithm_of(path: Path) -> str:
    """Name of the algorithm's class, from the policy class and attributes alone.

    :raises SlipwayError: as :func:`read`
    """
    members = zips.members(content(path), path.name, zips.MAX_MEMBERS, MEMBERS)
    data = parsed(members.get("data", b""))
    return _algorithm(_policy_class(field(data, "policy_class") if "policy_class" in data else None), data)


def read(path: Path, lenient: bool = False) -> Archive:
    """Read an archive that ``save`` wrote, by any version of SB3.

    :param lenient: let policy_kwargs refer to anything: the names stay names, and only those that the config
        allows are ever imported
    :raises SlipwayError: :class:`errors.AgentFileDamaged`, :class:`errors.NotAnAgent`,
        :class:`errors.PickleRefused` or :class:`errors.WeightsUnfit`
    """
    import torch

    def made(tensor: tensors.Tensor) -> torch.Tensor:
        held = torch.frombuffer(bytearray(tensor.storage), dtype=getattr(torch, tensor.dtype))
        return held.as_strided(tensor.shape, tensor.strides, tensor.offset).clone()

    opened, weights = outline(path, lenient)
    return dataclasses.replace(opened, weights={name: made(tensor) for name, tensor in weights.items()})


def outline(path: Path, lenient: bool = False) -> tuple[Archive, dict[str, tensors.Tensor]]:
    """The archive without its weights, and these as they lie in the file: all that :func:`read` checks, without torch.

    :raises SlipwayError: as :func:`read`
    """
    try:
        members = zips.members(content(path), path.name, zips.MAX_MEMBERS, MEMBERS)
        if "data" not in members or "policy.pth" not in members:
            missing = "data" if "data" not in members else "policy.pth"
            raise errors.NotAnAgent(f"{path.name} has no member '{missing}': not a Stable-Baselines3 agent")
        data = parsed(members["data"])
        try:
            fields = {name: field(data, name) for name in ("policy_class", "observation_space", "action_space")}
            kwargs = _kwargs(data, lenient)
        except KeyError as missing_key:
            raise errors.NotAnAgent(f"member data has no {missing_key}: not a Stable-Baselines3 agent") from None
        policy_class = _policy_class(fields["policy_class"])
        opened = Archive(
            algorithm=_algorithm(policy_class, data),
            policy_class=policy_class,
            policy_kwargs=_mapping(kwargs),
            observation_space=records.space(fields["observation_space"]),
            action_space=records.space(fields["action_space"]),
            settings={key: value for key, value in data.items() if isinstance(value, str | int | float | bool)},
            version=_version(members.get(VERSION, b"unknown")),
            weights={},
        )
        return opened, tensors.read(members["policy.pth"])
    except errors.SlipwayError as error:
        raise error.at(file=path) from None


def content(path: Path) -> bytes:
    """Its bytes, if they are not too many."""
    try:
        if path.stat().st_size > zips.MAX_UNPACKED:
            raise errors.NotAnAgent(f"{path.name} has {path.stat().st_size:,} bytes; the limit is 1 GiB")
        return path.read_bytes()
    except OSError as error:
        raise errors.AgentFileDamaged(f"{path.name} cannot be read ({error.strerror})") from None


def _version(member: bytes) -> str:
    found = member.decode("ascii", "replace").strip()
    return found if re.fullmatch(r"[\w.+-]{1,40}", found) else "unknown"


def _policy_class(found: object) -> str:
    """Its full name. It will be imported and called, so it must be one of the policies that we know."""
    if not isinstance(found, pickles.Name) or (found.module, found.name) not in pickles.POLICIES:
        raise errors.NotAnAgent(f"policy_class is {records.plain(found)}, not a policy of Stable-Baselines3")
    return str(found)


def _kwargs(data: dict[str, Any], lenient: bool) -> Any:
    """policy_kwargs, which may name a features extractor of the user's own, or hold it by value."""
    if lenient:
        return field(data, "policy_kwargs", pickles.ANY)
    try:
        return field(data, "policy_kwargs")
    except errors.PickleRefused as refusal:
        try:
            extractor = field(data, "policy_kwargs", pickles.ANY)["features_extractor_class"]
        except (errors.PickleRefused, KeyError, TypeError):
            raise refusal from None
        named, path = extractor_of(extractor)
        if (path or named) and path.partition(":")[0] not in sys.stdlib_module_names:
            refusal.what = f"policy_kwargs holds the features extractor {named} {'by name' if path else 'by value'}"
            refusal.remedy = (
                "Nothing was executed. Have its code where it can be imported (see import_from) and set "
                f'import_allowed = ["{path or f"package.module:{named}"}"] in the config'
            )
        raise refusal from None


def extractor_of(value: object) -> tuple[str, str]:
    """Name of a features extractor's class, and ``package.module:Class`` where it is pickled by name."""
    if isinstance(value, pickles.Name):
        return value.name, f"{value.module}:{value.name}"
    if isinstance(value, pickles.Record) and value.callee.name == "_make_skeleton_class" and len(value.args) > 1:
        return records.plain(value.args[1]).strip("'"), ""
    return "", ""


def _mapping(kwargs: object) -> dict[str, Any]:
    if kwargs is None:
        return {}
    if not isinstance(kwargs, dict):
        raise errors.NotAnAgent(f"policy_kwargs is {records.plain(kwargs)}, not a mapping")
    return kwargs


def parsed(text: bytes) -> dict[str, Any]:
    """The member ``data``."""
    if len(text) > MAX_DATA:
        raise errors.NotAnAgent(f"member data has {len(text):,} bytes; the limit is {MAX_DATA >> 20} MiB")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        deep = "too deeply nested" if isinstance(error, RecursionError) else str(error)
        raise errors.NotAnAgent(f"member data is not valid JSON ({deep})") from None
    if not isinstance(data, dict):
        raise errors.NotAnAgent("member data is not a JSON object")
    return data


def field(data: dict[str, Any], key: str, allowed: frozenset[tuple[str, str]] = pickles.ALLOWED) -> Any:
    """One field of ``data``: plain JSON, or the records of its pickle."""
    value = data[key]
    if not isinstance(value, dict) or ":serialized:" not in value:
        return value
    try:
        return pickles.read(base64.b64decode(value[":serialized:"], validate=True), allowed)
    except (binascii.Error, TypeError, ValueError):
        raise errors.PickleRefused(f"the pickle of {key} is not base64") from None
    except errors.PickleRefused as error:
        error.what = f"{key}: {error.what}"
        raise


def _algorithm(policy_class: str, data: dict[str, Any]) -> str:
    """The archive never names its algorithm; its policy class and attributes do."""
    if policy_class.startswith("stable_baselines3.common.policies."):
        if "cg_max_steps" in data:
            return "TRPO"
        return "PPO" if "clip_range" in data else "A2C"
    if policy_class.startswith("stable_baselines3.td3."):
        kwargs = data.get("policy_kwargs")
        return "DDPG" if isinstance(kwargs, dict) and kwargs.get("n_critics") == 1 else "TD3"
    contrib = {"maskable": "MaskablePPO", "recurrent": "RecurrentPPO", "crossq": "CrossQ"}
    part = policy_class.split(".")[-3]
    return contrib.get(part, part.upper())
