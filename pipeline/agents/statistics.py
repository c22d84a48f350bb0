"""``vecnormalize.pkl``: VecNormalize's statistics of the observation, read without executing what is in it."""

from __future__ import annotations

import pickletools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import errors
from pipeline.agents import archive, pickles, records, spaces

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Moments:
    """Running moments of an observation.

    :param mean: float64, shape of the observation
    :param variance: float64, likewise
    :param frames: how many stacked observations they were repeated for; 1 if none
    """

    mean: np.ndarray
    variance: np.ndarray
    frames: int


@dataclass(frozen=True)
class Statistics:
    """VecNormalize's statistics.

    :param clip: bound of a normalized observation, or infinity
    :param moments: of what is normalized, by key of a Dict; under ``""`` where there is no Dict
    """

    clip: float
    epsilon: float
    moments: dict[str, Moments]


def read(path: Path, observation_space: dict[str, Any]) -> Statistics:
    """Read ``vecnormalize.pkl`` and hold it to the agent's observation space.

    :raises SlipwayError: :class:`errors.PickleRefused` or :class:`errors.StatisticsUnfit`
    """
    try:
        content = archive.content(path)
        if chr(content[0] if content else 0) not in pickletools.code2op:  # type: ignore[attr-defined]
            start = content[:20].decode("ascii", "replace").split("\n")[0]
            raise errors.StatisticsUnfit(f"{path.name} is not a pickle (it starts with {start!r})")
        record = pickles.read(content)
        state = record.state if isinstance(record, pickles.Record) else None
        if not isinstance(state, dict) or "clip_obs" not in state or "norm_obs" not in state:
            raise errors.StatisticsUnfit(f"{path.name} does not hold a VecNormalize")
        return _statistics(state, path.name, observation_space)
    except errors.SlipwayError as error:
        raise error.at(file=path) from None
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        what = f"{path.name} holds a malformed VecNormalize ({type(error).__name__}: {str(error)[:80]})"
        raise errors.StatisticsUnfit(what, file=path) from None


def _statistics(state: dict[str, Any], name: str, observation_space: dict[str, Any]) -> Statistics:
    clip, epsilon = (float(records.array(state[key])) for key in ("clip_obs", "epsilon"))
    if not (clip > 0 and epsilon > 0):
        raise errors.StatisticsUnfit(f"{name} has clip_obs {clip} and epsilon {epsilon}; both must be above 0")
    if not bool(records.array(state["norm_obs"])):  # without it, SB3 keeps no moments
        return Statistics(clip, epsilon, {})
    running = state["obs_rms"]
    several = isinstance(running, dict)
    if several != (observation_space["type"] == "Dict"):
        kinds = ("one observation", "a Dict")
        raise errors.StatisticsUnfit(
            f"{name} belongs to another agent",
            expected=f"statistics of {kinds[not several]}",
            found=f"of {kinds[several]}",
        )
    if not several:
        return Statistics(clip, epsilon, {"": _moments(running, name, "obs_rms", observation_space)})
    keys = state.get("norm_obs_keys")  # SB3 before 1.6 has none, and normalizes every key
    parts = spaces.parts(observation_space)
    found = {}
    for key in running if keys is None else keys:
        if key not in running or key not in parts:
            raise errors.StatisticsUnfit(
                f"{name} normalizes {records.plain(key)}", expected=f"keys of the agent: {', '.join(parts)}"
            )
        found[key] = _moments(running[key], name, f"obs_rms['{key}']", parts[key])
    return Statistics(clip, epsilon, {key: found[key] for key in parts if key in found})


def _moments(running: Any, name: str, label: str, space: dict[str, Any]) -> Moments:
    if space["type"] != "Box":
        raise errors.StatisticsUnfit(f"{name} normalizes {space['type']} observations, which SB3 does not")
    if spaces.is_image(space):
        raise errors.UnsupportedPolicy(f"{name} normalizes an image, which SB3 before 2.0 did: not supported")
    mean, variance = (records.array(running.state[key]).astype("float64") for key in ("mean", "var"))
    wanted = tuple(space["shape"])
    for key, values in (("mean", mean), ("var", variance)):
        if not _fits(values.shape, wanted) or values.shape != mean.shape:
            what = f"{name} has {label}.{key} of another shape than the agent observes"
            raise errors.StatisticsUnfit(what, expected=wanted, found=values.shape)
        _check_values(values, f"{label}.{key}", name)
    # VecFrameStack behind VecNormalize: each frame is normalized by the same moments.
    frames = wanted[-1] // mean.shape[-1] if mean.shape else 1
    tiles = (*[1] * (mean.ndim - 1), frames)
    return Moments(_tiled(mean, tiles), _tiled(variance, tiles), frames)


def _tiled(values: np.ndarray, tiles: tuple[int, ...]) -> np.ndarray:
    import numpy as np

    return np.tile(values, tiles) if tiles[-1] > 1 else values


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Equal, or equal to one frame of a stack along the last dimension."""
    if shape == wanted:
        return True
    same = len(shape) == len(wanted) > 0 and shape[:-1] == wanted[:-1]
    return same and 0 < shape[-1] < wanted[-1] and wanted[-1] % shape[-1] == 0


def _check_values(values: np.ndarray, label: str, name: str) -> None:
    import numpy as np

    bad = np.flatnonzero(~np.isfinite(values) | (values < 0 if label.endswith("var") else False))
    if bad.size:
        value = values.ravel()[bad[0]]
        raise errors.StatisticsUnfit(f"{label}[{bad[0]}] of {name} is {value}; must be finite and not negative")
