"""Spaces as contracts describe them, gymnasium's own, and the inputs that an artifact takes for them.

SB3 turns images channel-first before its policy sees them (``VecTransposeImage``), so that is what an archive
holds; its users hold them as their camera or environment gives them. What an image is: ``is_image_space`` of
stable_baselines3 2.9 ``common/preprocessing.py``.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from pipeline import errors

if TYPE_CHECKING:
    import gymnasium

Description = dict[str, Any]
CHANNEL_LAST, CHANNEL_FIRST, FLAT = "channel-last", "channel-first", "batch first"
# Names that an input for a key of a Dict cannot have, being those of other inputs, of outputs, and Python's own
# where TensorFlow takes inputs as keywords.
_TAKEN = re.compile(
    r"action|action_mask|keep|(new_)?[hc]\d+|logits|mean|log_std|value|q_values|scaled_action|preferences|self"
)


def gymnasium_space(description: Description) -> gymnasium.Space[Any]:
    """The gymnasium space that a contract describes. A Dict keeps its order: features are joined in it."""
    import numpy as np
    from gymnasium import spaces

    from pipeline import contract

    kind = description["type"]
    if kind == "Box":
        dtype = np.dtype(description["dtype"])
        low, high = (contract.bounds(description, key).astype(dtype) for key in ("low", "high"))
        return spaces.Box(low, high, dtype=dtype.type)
    if kind == "Discrete":
        return spaces.Discrete(description["n"], start=description["start"])
    if kind == "MultiDiscrete":
        return spaces.MultiDiscrete(description["nvec"])
    if kind == "MultiBinary":
        n = description["n"]
        return spaces.MultiBinary(n[0] if len(n) == 1 else n)
    return spaces.Dict(OrderedDict((key, gymnasium_space(value)) for key, value in description["spaces"].items()))


def is_image(space: Description) -> bool:
    """Whether SB3 takes it for an image: Box of three dimensions, uint8, bounds exactly 0 and 255."""
    if space["type"] != "Box" or len(space["shape"]) != 3 or space["dtype"] != "uint8":
        return False
    return set(space["low"]) == {0.0} and set(space["high"]) == {255.0}


def parts(space: Description) -> dict[str, Description]:
    """The spaces of a Dict by key, in order; any other space under ``""``."""
    return dict(space["spaces"]) if space["type"] == "Dict" else {"": space}


def names(space: Description) -> dict[str, str]:
    """Key -> name of its input: the key, made fit for every converter; ``observation`` where there is no Dict."""
    if space["type"] != "Dict":
        return {"": "observation"}
    found: dict[str, str] = {}
    for key in space["spaces"]:
        name = re.sub(r"\W", "_", key, flags=re.ASCII)
        if not name[:1].isalpha() or _TAKEN.fullmatch(name):
            name = f"observation_{name}"
        while name in found.values():
            name += "_"
        found[key] = name
    return found


def shape(space: Description) -> list[int]:
    """Of one observation, as SB3's policy takes it."""
    if space["type"] == "Discrete":
        return []
    if space["type"] == "MultiDiscrete":
        return [len(space["nvec"])]
    return list(space["n"] if space["type"] == "MultiBinary" else space["shape"])


def inputs(space: Description, images: str) -> list[dict[str, Any]]:
    """The contract's entries for the inputs of an observation space, in the space's order.

    Numbers are float32, whatever the space's dtype is; indices (Discrete, MultiDiscrete) are int32.

    :param images: how users hold images: "channel-last" or "channel-first"
    """
    called = names(space)
    found = []
    for key, part in parts(space).items():
        size, layout = shape(part), FLAT
        if is_image(part):
            layout = images
            size = [*size[1:], size[0]] if images == CHANNEL_LAST else size
        entry = {
            "name": called[key],
            "role": "observation",
            "shape": ["batch", *size],
            "dtype": "int32" if "Discrete" in part["type"] else "float32",
            "layout": layout,
        }
        if key:
            entry["key"] = key
        found.append(entry)
    return found


def held(space: Description, images: str) -> Description:
    """The space as users hold it: images in their layout."""
    if space["type"] == "Dict":
        return {**space, "spaces": {key: held(part, images) for key, part in space["spaces"].items()}}
    if images == CHANNEL_LAST and is_image(space):
        channels, height, width = space["shape"]
        return {**space, "shape": [height, width, channels]}
    return space


def check_observed(space: Description) -> None:
    """:raises errors.UnsupportedPolicy: SB3 itself has no policy for such observations"""
    for key, part in parts(space).items():
        where = f" under '{key}'" if key else ""
        if part["type"] == "Dict":
            raise errors.UnsupportedPolicy(f"a Dict inside a Dict{where} is not supported: SB3 has no policy for it")
        if part["type"] == "Box" and not part["shape"]:
            raise errors.UnsupportedPolicy(f"Box observations without a dimension{where} are not supported")
        if part["type"] == "Discrete" and part["start"]:
            what = f"Discrete observations{where} start at {part['start']}; SB3's one-hot encoding starts at 0"
            raise errors.UnsupportedPolicy(what)


def check_actions(space: Description) -> None:
    """:raises errors.UnsupportedPolicy: SB3 itself has no policy for such actions"""
    if space["type"] not in ("Box", "Discrete", "MultiDiscrete", "MultiBinary"):
        expected = "Box, Discrete, MultiDiscrete or MultiBinary"
        raise errors.UnsupportedPolicy(f"{space['type']} actions are not supported", expected=expected)
    if space["type"] == "MultiBinary" and len(space["n"]) != 1:
        raise errors.UnsupportedPolicy("MultiBinary actions of several dimensions are not supported by SB3 either")


def groups(space: Description) -> list[int]:
    """How many choices each of an action's parts has; for MultiBinary two each."""
    if space["type"] == "Discrete":
        return [space["n"]]
    return list(space["nvec"]) if space["type"] == "MultiDiscrete" else [2] * math.prod(space["n"])
