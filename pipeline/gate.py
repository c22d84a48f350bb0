"""The gate that a rounded artifact passes or not: does it keep the return? Knows numbers, and no framework.

``kept = (artifact - random policy) / (source - random policy)`` of mean returns, so that negative returns make sense.
Source and artifact act in the same seeded episodes, so the uncertainty of what is kept is that of the difference
within an episode: a percentile bootstrap over episodes (Efron 1979), seeded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PLAYED, EPISODES = "returns.json", "episodes.json"  # files: without the artifact, and with it
CONFIDENCE = 0.95
RESAMPLED = 2000
Returns = Mapping[str, list[float]]


def figures(returns: Returns, threshold: float | None, limit: float) -> dict[str, Any]:
    """What the episodes say.

    :param returns: of "source" and "artifact", the same episodes in the same order; of "random", some
    :param limit: least share to be kept
    :param threshold: the return from which the environment counts as solved, if it names one
    :return: ``episodes``, the three means, ``kept``, its confidence interval ``low`` to ``high``, ``settled``, whether
        that interval lies on one side of the limit, and ``solved``, the shares of episodes that are
    """
    import numpy as np

    values = {name: np.asarray(found, float) for name, found in returns.items()}
    mean = {name: float(found.mean()) for name, found in values.items()}
    scale = max(abs(mean["source"] - mean["random"]), 1e-9)
    lost = (values["source"] - values["artifact"]) / scale
    drawn = np.random.default_rng(0).integers(0, len(lost), (RESAMPLED, len(lost)))
    low, high = 1 - np.quantile(lost[drawn].mean(axis=1), [(1 + CONFIDENCE) / 2, (1 - CONFIDENCE) / 2])
    found: dict[str, Any] = {
        "episodes": len(lost),
        **mean,
        "kept": 1 - float(lost.mean()),
        "low": float(low),
        "high": float(high),
        "settled": bool(low >= limit or high < limit),
    }
    if threshold is not None:
        found["solved_at"] = threshold
        found["solved"] = {name: float((array >= threshold).mean()) for name, array in values.items()}
    return found


def beyond(found: Mapping[str, Any], limit: float) -> list[str]:
    """Why the gate stays shut; [] where it opens. The mean decides, over as many episodes as were needed."""
    if found["kept"] >= limit:
        return []
    fell = f"the mean return fell from {found['source']:.4g} to {found['artifact']:.4g}"
    return [f"{fell}: {phrase(found)}, bound {limit:.0%}; random policy {found['random']:.4g}"]


def phrase(found: Mapping[str, Any]) -> str:
    """What is kept, how certainly, and in how many episodes."""
    between = f"95 % between {found['low']:.1%} and {found['high']:.1%}"
    return f"{found['kept']:.1%} of the return kept ({between}) in {found['episodes']} episodes"
