"""``policy.json``: what a reader of an artifact needs to know, and the float arithmetic around the core.

``predict = epilogue ∘ core ∘ prologue``. A contract lists the steps of prologue and epilogue as data;
an artifact whose ``part`` is "policy" holds them inside, one whose ``part`` is "core" leaves them to
its caller, and :func:`decide` is that caller for numpy. Shapes write the batch dimension as "batch".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Arrays = Mapping[str, np.ndarray]
    Run = Callable[[Arrays], dict[str, np.ndarray]]

FILE = "policy.json"
VERSION = 1


def load(artifact: Path) -> dict[str, Any]:
    """The contract of an artifact's folder."""
    contract: dict[str, Any] = json.loads((artifact / FILE).read_text(encoding="utf-8"))
    return contract


def dump(contract: Mapping[str, Any], artifact: Path) -> None:
    """Write the contract into an artifact's folder."""
    (artifact / FILE).write_text(text(contract) + "\n", encoding="utf-8")


def text(contract: Mapping[str, Any]) -> str:
    """The contract as JSON, keys sorted, golden vectors of the outputs that it states."""
    stated = dict(contract)
    if "golden" in stated:
        names = {"action", *(output["name"] for output in stated["outputs"])}
        outputs = {name: values for name, values in stated["golden"]["outputs"].items() if name in names}
        stated["golden"] = {**stated["golden"], "outputs": outputs}
    return json.dumps(stated, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)


def bounds(space: Mapping[str, Any], key: str) -> np.ndarray:
    """``low`` or ``high`` of a Box, shape of the space, float64, infinite bounds included."""
    import numpy as np

    return np.array([float(v) for v in space[key]]).reshape(space["shape"])


def prologue(steps: list[dict[str, Any]], observation: np.ndarray) -> np.ndarray:
    """What stands before the core.

    :param steps: the contract's ``prologue``
    :param observation: [batch, ...], in the environment's units
    :return: [batch, ...], float32
    """
    import numpy as np

    shape = observation.shape[1:]
    for step in steps:
        if step["op"] == "normalize":
            mean, variance = (np.array(step[key]).reshape(shape) for key in ("mean", "variance"))
            scaled = (observation - mean) / np.sqrt(variance + step["epsilon"])
            observation = np.clip(scaled, -float(step["clip"]), float(step["clip"]))
        elif step["op"] == "equalize":
            middle, half = (np.array(step[key]).reshape(shape) for key in ("middle", "half"))
            observation = (observation - middle) / half
        else:
            raise ValueError(f"unknown prologue step {step['op']!r}")
    return observation.astype(np.float32)


def epilogue(steps: list[dict[str, Any]], core_output: np.ndarray) -> np.ndarray:
    """What stands behind the core.

    :param steps: the contract's ``epilogue``
    :param core_output: [batch, ...], float32
    :return: the action: [batch, ...] float32, or [batch] int64 for Discrete
    """
    import numpy as np

    value = core_output
    for step in steps:
        low, high = (np.array(step.get(key, 0), np.float32) for key in ("low", "high"))
        if step["op"] == "argmax":
            value = value.argmax(axis=1)
        elif step["op"] == "tanh":
            value = np.tanh(value)
        elif step["op"] == "clip":
            value = np.clip(value, low, high)
        elif step["op"] == "unscale":
            value = low + np.float32(0.5) * (value + np.float32(1)) * (high - low)
        elif step["op"] == "reshape":
            value = value.reshape(len(value), *step["shape"])
        else:
            raise ValueError(f"unknown epilogue step {step['op']!r}")
    return value


def decide(contract: Mapping[str, Any], run: Run, observations: Arrays) -> dict[str, np.ndarray]:
    """Every output of ``predict`` from an artifact, whichever part it holds.

    :param contract: the artifact's
    :param run: the artifact in some runtime: inputs by name -> outputs by name
    :param observations: [batch, ...] by input name, in the environment's units
    """
    if contract["part"] == "policy":
        return run(observations)
    inputs = {name: prologue(contract["prologue"], values) for name, values in observations.items()}
    outputs = run(inputs)
    return {"action": epilogue(contract["epilogue"], outputs[contract["decision"]]), **outputs}


def action_range(space: Mapping[str, Any]) -> np.ndarray | None:
    """``high - low`` of a Box of actions, flat; 1 where it is unbounded. None for other spaces."""
    import numpy as np

    if space["type"] != "Box":
        return None
    span = (bounds(space, "high") - bounds(space, "low")).ravel()
    return np.where(np.isfinite(span) & (span > 0), span, 1.0)
