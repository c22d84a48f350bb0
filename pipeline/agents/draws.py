"""Inputs drawn where there is no environment, and from the edges of the observation space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline import contract as contracts
from pipeline.agents import spaces
from pipeline.agents.statistics import Moments, Statistics

if TYPE_CHECKING:
    import numpy as np

    Inputs = dict[str, np.ndarray]


def drawn(contract: dict[str, Any], statistics: Statistics | None, samples: int, seed: int) -> tuple[Inputs, str]:
    """Inputs from VecNormalize's statistics where there are some, else from the space.

    :return: by name (but for states), [samples, ...], and a phrase that says where they come from
    """
    import numpy as np

    noise = np.random.default_rng(seed)
    found, origins = {}, set()
    for entry, space in _observations(contract):
        moments = statistics.moments.get(entry.get("key", "")) if statistics else None
        if space["type"] == "Box" and not spaces.is_image(space):
            found[entry["name"]] = _numbers(space, moments, samples, noise)
            plain = "the observation space (standard normal where it has no bounds)"
            origins.add("VecNormalize's statistics" if moments else plain)
        else:
            found[entry["name"]] = _others(space, entry["shape"][1:], samples, noise)
            origins.add("the observation space")
    found |= _masks(contract, samples, noise)
    return found, f"draws from {' and '.join(sorted(origins))}"


def blind(contract: dict[str, Any], statistics: Statistics | None) -> bool:
    """Whether draws would say nothing of what the agent sees: a Box without statistics is among its observations."""
    found = [
        statistics.moments.get(entry.get("key", "")) if statistics else None
        for entry, space in _observations(contract)
        if space["type"] == "Box"
    ]
    return None in found


def edges(contract: dict[str, Any], seen: Inputs, count: int, seed: int) -> Inputs:
    """Inputs from the edges of the space: each dimension of a Box at its lower or upper end.

    A dimension without a usable bound ends half its seen range beyond what was seen. Half of the action masks
    forbid every choice of some decision.
    """
    import numpy as np

    noise = np.random.default_rng(seed)
    found = {}
    for entry, space in _observations(contract):
        values = seen[entry["name"]]
        if space["type"] != "Box" or spaces.is_image(space):
            found[entry["name"]] = _others(space, entry["shape"][1:], count, noise)
            continue
        low, high = (contracts.bounds(space, key) for key in ("low", "high"))
        least, most = (fold(values, axis=0).astype(np.float64) for fold in (np.min, np.max))
        beyond = 0.5 * np.maximum(most - least, 1e-3)
        usable = (high - low) < 1e3 * np.maximum(most - least, 1e-3)
        lower, upper = np.where(usable, low, least - beyond), np.where(usable, high, most + beyond)
        side = noise.integers(0, 2, size=(count, *space["shape"]))
        found[entry["name"]] = np.where(side, upper, lower).astype(values.dtype)
    found |= _masks(contract, count, noise, barren=0.5)
    return found


def resets(rows: Inputs, steps: int, seed: int) -> Inputs:
    """Rows as sequences for a recurrent policy: [rows // steps, steps, ...], and ``keep``, 0 at random now and then."""
    import numpy as np

    count = len(next(iter(rows.values()))) // steps
    found = {name: v[: count * steps].reshape(count, steps, *v.shape[1:]) for name, v in rows.items()}
    keep = np.random.default_rng(seed).random((count, steps, 1)) > 1 / 16
    keep[:, 0] = False
    return {**found, "keep": keep.astype(np.float32)}


def _observations(contract: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Entries of the observation's inputs, each with its space."""
    parts = spaces.parts(contract["observation_space"])
    return [(entry, parts[entry.get("key", "")]) for entry in contract["takes"] if entry["role"] == "observation"]


def _numbers(space: dict[str, Any], moments: Moments | None, samples: int, noise: np.random.Generator) -> np.ndarray:
    import numpy as np

    low, high = (contracts.bounds(space, key) for key in ("low", "high"))
    normal = noise.normal(size=(samples, *space["shape"]))
    if moments is not None:
        values = moments.mean + normal * np.sqrt(moments.variance)
        return np.clip(values, low, high).astype(space["dtype"])
    bounded = (high - low) < 1e3
    low_end, high_end = np.where(bounded, low, -1.0), np.where(bounded, high, 1.0)
    middle, half = (low_end + high_end) / 2, (high_end - low_end) / 2
    uniform = noise.uniform(-1, 1, size=normal.shape)
    values = np.clip(middle + half * np.where(bounded, uniform, normal), low, high)
    return values.astype(space["dtype"])


def _others(space: dict[str, Any], shape: list[int], samples: int, noise: np.random.Generator) -> np.ndarray:
    """Indices, bits and images."""
    import numpy as np

    if space["type"] == "Discrete":
        return noise.integers(0, space["n"], size=samples)
    if space["type"] == "MultiDiscrete":
        return noise.integers(0, space["nvec"], size=(samples, len(space["nvec"])))
    if space["type"] == "MultiBinary":
        return noise.integers(0, 2, size=(samples, *shape)).astype(np.int8)
    # Uniform noise alone looks all the same to a convolution: blocks of every size, down to single pixels.
    found = np.empty((samples, *shape), np.uint8)
    for image in found:
        size = 2 ** int(noise.integers(0, 6))
        coarse = noise.integers(0, 256, size=[-(-n // size) for n in shape], dtype=np.uint8)
        for axis in range(3):
            coarse = coarse.repeat(size, axis=axis)
        image[...] = coarse[tuple(slice(n) for n in shape)]
    return found


def _masks(contract: dict[str, Any], samples: int, noise: np.random.Generator, barren: float = 0.0) -> Inputs:
    """Action masks, if the policy takes some, that allow at least one choice of each decision.

    :param barren: share of masks that may allow none
    """
    import numpy as np

    entry = next((entry for entry in contract["takes"] if entry["role"] == "mask"), None)
    if entry is None:
        return {}
    found = noise.random((samples, entry["shape"][1])) < 0.6
    start = 0
    for size in contracts.groups(contract) or []:
        group = found[:, start : start + size]
        none = np.flatnonzero(~group.any(axis=1) & (noise.random(samples) >= barren))
        group[none, noise.integers(0, size, size=len(none))] = True
        start += size
    return {entry["name"]: found}
