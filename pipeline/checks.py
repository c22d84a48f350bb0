"""Hold what an artifact answered to what ``predict`` answered. Knows numbers, and no framework."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline import contract as contracts
from pipeline import gate
from pipeline.settings import Bound, Tolerance
from pipeline.spec import Verdict

if TYPE_CHECKING:
    import numpy as np

    Arrays = Mapping[str, np.ndarray]


def compare(
    reference: Arrays,
    outputs: Arrays,
    contract: Mapping[str, Any],
    limits: Tolerance | Bound,
    *,
    samples: int,
    episodes: Mapping[str, Any] | None = None,
    previous: Arrays | None = None,
    inputs: Arrays | None = None,
    draws: Arrays | None = None,
) -> Verdict:
    """The verdict on one artifact in one runtime.

    :param reference: SB3's answers by output name, [observations, ...]
    :param outputs: the artifact's answers
    :param contract: the artifact's
    :param limits: :class:`Tolerance` for full precision, :class:`Bound` for float16 and int8
    :param samples: how many of the first observations come from rollouts; the rest are edges of the space,
        which a bound does not judge: an integer range ends where the rollouts end
    :param episodes: closed-loop ``returns`` of "source", "artifact" and "random", and ``reward_threshold``
    :param previous: the answers of the artifact that this one was made from, for the report
    :param inputs: what was answered, by name; only an ``action_mask`` matters here
    :param draws: of a stochastic policy, what SB3 drew: ``rows``, and ``actions`` [rows, draws, ...]
    """
    wrong = _misfit(reference, outputs, contract)
    if wrong:
        return Verdict("failed", wrong)
    masks = {name: values for name, values in (inputs or {}).items() if name == "action_mask"}
    drawn = _distributions(outputs, contract, masks, draws) if draws is not None else {}
    judged = slice(None) if isinstance(limits, Tolerance) else slice(samples)
    reference = {name: values[judged] for name, values in reference.items()}
    outputs = {name: values[judged] for name, values in outputs.items()}
    masks = {name: values[judged] for name, values in masks.items()}
    names = _names(contract)
    relative = limits.relative if isinstance(limits, Tolerance) else 0.0
    granted = {name: relative * _magnitude(reference, name, contract) for name in names}
    figures: dict[str, Any] = {
        "observations": len(reference["action"]),
        "outputs": {name: _errors(outputs[name], reference[name], granted[name]) for name in names},
    }
    if previous is not None:
        shared = [name for name in names if name in previous and previous[name][judged].shape == outputs[name].shape]
        figures["drift"] = {name: _errors(outputs[name], previous[name][judged])["max"] for name in shared}
    discrete = contract["action_space"]["type"] != "Box"
    if discrete:
        figures["decisions"] = _decisions(reference, outputs, contract, limits, masks)
    if drawn:
        figures["distribution"] = drawn
    if isinstance(limits, Tolerance):
        reasons = _beyond_tolerance(figures, limits, discrete)
    else:
        reasons = _beyond_bound(figures, reference, outputs, contract, limits, discrete)
        figures["judged_by"] = "bound, as there is no environment"
        if episodes:
            threshold = episodes["reward_threshold"]
            figures["closed_loop"] = gate.figures(episodes["returns"], threshold, limits.return_kept)
            figures["judged_by"] = "closed loop"
            reasons = gate.beyond(figures["closed_loop"], limits.return_kept)
    return Verdict("failed" if reasons else "passed", "; ".join(reasons), figures)


def alike(one: Arrays, other: Arrays, steps: Mapping[str, float] | None = None) -> bool:
    """Whether two artifacts of one network give equal answers, to 99 of 100 observations.

    Decisions are equal, and what comes out of an integer network lies within two steps of its grid: each runtime's
    kernels round in their own way, and so do prologues that add in another order.

    :param steps: scale of each output that is quantized, by name
    """
    import numpy as np

    grid = steps or {}
    shared = [name for name in one if name in other and one[name].shape == other[name].shape]
    if "action" not in shared:
        return False
    if set(grid) & set(shared) and one["action"].dtype.kind == "f":
        shared.remove("action")  # it is arithmetic on the quantized outputs
    count = len(one["action"])
    near = {name: np.isclose(one[name], other[name], 1e-5, max(1e-6, 2.001 * grid.get(name, 0))) for name in shared}
    apart = [~values.reshape(count, -1).all(axis=1) for values in near.values()]
    return int(np.any(apart, axis=0).sum()) <= count // 100


def _names(contract: Mapping[str, Any]) -> list[str]:
    """The action first, whichever part the artifact holds."""
    stated = [output["name"] for output in contract["outputs"]]
    return ["action", *(name for name in stated if name != "action")]


def _misfit(reference: Arrays, outputs: Arrays, contract: Mapping[str, Any]) -> str:
    """What is wrong before any number is compared; "" if nothing is."""
    import numpy as np

    wanted = _names(contract)
    if sorted(outputs) != sorted(wanted):
        return f"outputs are named {sorted(outputs)}, the contract names {sorted(wanted)}"
    for name in wanted:
        got, want = outputs[name], reference[name]
        if got.shape != want.shape:
            return f"output {name} has shape {list(got.shape)}, expected {list(want.shape)}"
        if want.dtype.kind in "iu" and got.dtype.kind not in "iu":
            return f"output {name} is {got.dtype}, expected integers"
        for label, values in (("artifact", got), ("reference", want)):
            bad = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
            if bad.size:
                return f"output {name} of the {label} is NaN or infinite at observation {bad[0]}"
    stated = {output["name"]: output["dtype"] for output in contract["outputs"]}
    if contract["part"] == "policy" and stated["action"] != str(outputs["action"].dtype):
        return f"output action is {outputs['action'].dtype}, the contract says {stated['action']}"
    return ""


def _magnitude(reference: Arrays, name: str, contract: Mapping[str, Any]) -> np.ndarray:
    """What a relative tolerance is relative to: the value itself, or for a difference what it is a difference of.

    Centered Q values near 0 carry the rounding of the Q values near 100 that they were centered from.
    """
    import numpy as np

    if name == contract["decision"] and "centered" in contract:
        return np.abs(reference[contract["centered"]].astype(np.float64)).max(axis=1, keepdims=True)
    return np.abs(reference[name].astype(np.float64))


def _errors(got: np.ndarray, want: np.ndarray, granted: np.ndarray | float = 0.0) -> dict[str, Any]:
    """Absolute errors over all observations, and the absolute tolerance that would have been needed beside
    what was granted relative to the values.
    """
    import numpy as np

    error = np.abs(got.astype(np.float64) - want.astype(np.float64))
    needed = error - granted
    worst = int(needed.reshape(len(needed), -1).max(axis=1).argmax())
    return {
        "max": float(error.max()),
        "mean": float(error.mean()),
        "p99": float(np.quantile(error, 0.99)),
        "needed": max(0.0, float(needed.max())),
        "worst": worst,
        "expected": want[worst].ravel().tolist(),
        "found": got[worst].ravel().tolist(),
    }


def _decisions(
    reference: Arrays, outputs: Arrays, contract: Mapping[str, Any], limits: Tolerance | Bound, masks: Arrays
) -> dict[str, Any]:
    """Equal decisions, and those that differ only where the two best choices are within the tolerance.

    An action of several decisions is equal if all are, and excused if each that differs is; ``share`` counts
    single decisions.
    """
    import numpy as np

    gap = contracts.gaps(contract, reference[contract["decision"]], masks)
    differ = (reference["action"] != outputs["action"]).reshape(gap.shape)
    allowed = np.zeros(len(gap))
    if isinstance(limits, Tolerance):
        magnitude = _magnitude(reference, contract["decision"], contract).max(axis=1)
        allowed = 2 * (limits.absolute + limits.relative * magnitude)
    wrong_parts = differ & (gap > allowed[:, None])
    changed, wrong = differ.any(axis=1), np.flatnonzero(wrong_parts.any(axis=1))
    smallest = float(gap.min())
    return {
        "equal": int((~changed).sum()),
        "excused": int(changed.sum()) - len(wrong),
        "wrong": len(wrong),
        "first_wrong": int(wrong[0]) if len(wrong) else None,
        "share": float((~differ).mean()),
        "smallest_gap": smallest if math.isfinite(smallest) else None,
    }


def _beyond_tolerance(figures: dict[str, Any], limits: Tolerance, discrete: bool) -> list[str]:
    figures["tolerance"] = {"absolute": limits.absolute, "relative": limits.relative}
    reasons = []
    drawn = figures.get("distribution")
    if drawn and not drawn["distance"] <= drawn["limit"]:
        reasons.append(
            f"what is drawn differs from SB3's draws: Kolmogorov-Smirnov distance {drawn['distance']:.3f} > "
            f"{drawn['limit']:.3f} over {drawn['draws']} draws"
        )
    for name, found in figures["outputs"].items():
        if discrete and name == "action":
            decided = figures["decisions"]
            if decided["wrong"]:
                count = f"{decided['wrong']} of {figures['observations']}"
                reasons.append(f"{count} decisions differ, the first at observation {decided['first_wrong']}")
        elif not found["needed"] <= limits.absolute:
            reasons.append(
                f"{name}: max difference {found['max']:.2e}; needs absolute tolerance {found['needed']:.2e} > "
                f"{limits.absolute:.0e} at observation {found['worst']} "
                f"(expected {_few(found['expected'])}, found {_few(found['found'])})"
            )
    return reasons


def _distributions(outputs: Arrays, contract: Mapping[str, Any], masks: Arrays, draws: Arrays) -> dict[str, Any]:
    """How far apart what the contract's sampler draws and what SB3 draws are distributed.

    :return: the largest two-sample Kolmogorov-Smirnov distance over rows and dimensions of the action, and what
        it may be at a significance of 1e-5; {} where the artifact lacks a parameter of the distribution
    """
    import numpy as np

    told = contract.get("distribution")
    if not told or not {told.get("log_std", "action"), contract["decision"]} <= set(outputs):
        return {}
    rows, actions = draws["rows"], draws["actions"]
    count = actions.shape[1]
    ours = contracts.sample(
        contract,
        {name: np.repeat(values[rows], count, axis=0) for name, values in outputs.items()},
        {name: np.repeat(values[rows], count, axis=0) for name, values in masks.items()},
        seed=0,
    )
    # In steps of a thousandth of the range: a saturated action that differs in its last bit differs in nothing.
    span = contracts.action_range(contract["action_space"])
    grain = 1.0 if span is None else span / 1000
    theirs, ours = (np.round(values.reshape(len(rows), count, -1) / grain) for values in (actions, ours))
    apart = [
        _kolmogorov_smirnov(theirs[row, :, part], ours[row, :, part])
        for row in range(len(rows))
        for part in range(theirs.shape[2])
    ]
    limit = math.sqrt(math.log(2 / 1e-5) / 2) * math.sqrt(2 / count)
    return {"draws": count, "observations": len(rows), "distance": max(apart), "limit": limit}


def _kolmogorov_smirnov(one: np.ndarray, other: np.ndarray) -> float:
    """The largest distance between two empirical distribution functions."""
    import numpy as np

    at = np.concatenate([one, other])
    shares = [np.searchsorted(np.sort(values), at, side="right") / len(values) for values in (one, other)]
    return float(np.abs(shares[0] - shares[1]).max())


def _few(values: list[float]) -> str:
    shown = ", ".join(f"{value:.6g}" for value in values[:4])
    return f"[{shown}{', …' if len(values) > 4 else ''}]"


def _beyond_bound(
    figures: dict[str, Any],
    reference: Arrays,
    outputs: Arrays,
    contract: Mapping[str, Any],
    limits: Bound,
    discrete: bool,
) -> list[str]:
    import numpy as np

    figures["bound"] = {"action": limits.action, "decisions": limits.decisions, "return_kept": limits.return_kept}
    if discrete:
        share = figures["decisions"]["share"]
        reason = f"{share:.1%} of decisions are equal, bound {limits.decisions:.0%}"
        return [] if share >= limits.decisions else [reason]
    span = contracts.action_range(contract["action_space"])
    difference = np.abs(outputs["action"] - reference["action"]).reshape(len(outputs["action"]), -1)
    share = float((difference / span).mean())
    figures["action_error"] = share
    reason = f"mean action error is {share:.2%} of the action range, bound {limits.action:.1%}"
    return [] if share <= limits.action else [reason]
