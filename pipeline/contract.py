"""``policy.json``: what a reader of an artifact needs to know, and the float arithmetic around the core.

``predict = epilogue ∘ core ∘ prologue``. A contract lists the steps of prologue and epilogue as data;
an artifact whose ``part`` is "policy" holds them inside, one whose ``part`` is "core" leaves them to
its caller, and :func:`decide` is that caller for numpy. Shapes write the batch dimension as "batch".

``takes`` lists the inputs of the whole policy, ``inputs`` those of the artifact, which for a core are what the
prologue gives. A recurrent policy's ``states`` name pairs of input and output: what came out goes in again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import errors, stored

if TYPE_CHECKING:
    import numpy as np

    Arrays = Mapping[str, np.ndarray]
    Run = Callable[[Arrays], dict[str, np.ndarray]]

FILE = "policy.json"
VERSION = 2


def load(artifact: Path) -> dict[str, Any]:
    """The contract of an artifact's folder.

    :raises OSError: it is not there
    :raises errors.OutputsUnfit: it is none
    """
    try:
        return stored.mapping(artifact / FILE)
    except ValueError as error:
        raise errors.OutputsUnfit(f"the contract cannot be read ({error})", file=artifact / FILE) from None


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


def read_inputs(contract: Mapping[str, Any], path: Path) -> dict[str, np.ndarray]:
    """Stored inputs of the whole policy, in the dtypes that it takes (images are stored in one byte a number).

    :param path: ``observations.npz``
    """
    import numpy as np

    dtypes = {entry["name"]: entry["dtype"] for entry in contract["takes"]}
    with np.load(path) as stored:
        return {name: stored[name].astype(dtypes[name], copy=False) for name in stored.files}


def bounds(space: Mapping[str, Any], key: str) -> np.ndarray:
    """``low`` or ``high`` of a Box, shape of the space, float64, infinite bounds included."""
    import numpy as np

    return np.array([float(v) for v in space[key]]).reshape(space["shape"])


def prologue(steps: list[dict[str, Any]], inputs: Arrays) -> dict[str, np.ndarray]:
    """What stands before the core.

    :param steps: the contract's ``prologue``
    :param inputs: by name, [batch, ...], in the environment's units
    :return: the same, float32, as the core takes them
    """
    import numpy as np

    found = dict(inputs)
    for step in steps:
        value = found[step["input"]]
        shape = value.shape[1:]
        if step["op"] == "normalize":
            mean, variance = (np.array(step[key]).reshape(shape) for key in ("mean", "variance"))
            scaled = (value - mean) / np.sqrt(variance + step["epsilon"])
            value = np.clip(scaled, -float(step["clip"]), float(step["clip"]))
        elif step["op"] == "equalize":
            middle, half = (np.array(step[key]).reshape(shape) for key in ("middle", "half"))
            value = (value - middle) / half
        elif step["op"] == "one_hot":
            index = value.reshape(len(value), -1)
            value = np.concatenate([index[:, [i]] == np.arange(n) for i, n in enumerate(step["sizes"])], axis=1)
        elif step["op"] == "reset":
            value = value * inputs[step["by"]]
        else:
            raise ValueError(f"unknown prologue step {step['op']!r}")
        found[step["input"]] = value
    return {name: value.astype(np.float32) for name, value in found.items()}


def epilogue(steps: list[dict[str, Any]], core_output: np.ndarray, inputs: Arrays) -> np.ndarray:
    """What stands behind the core.

    :param steps: the contract's ``epilogue``
    :param core_output: [batch, ...], float32
    :param inputs: by name; ``action_mask``, bool, is the only one that is used
    :return: the action: [batch, ...] float32; int64 for decisions, [batch] for Discrete, else [batch, decisions]
    """
    import numpy as np

    value = core_output
    for step in steps:
        low, high = (np.array(step.get(key, 0), np.float32) for key in ("low", "high"))
        if step["op"] == "mask":
            value = np.where(inputs[step["input"]], value, value.dtype.type(step["value"]))
        elif step["op"] == "argmax":
            parts = np.split(value, np.cumsum(step.get("sizes", []))[:-1], axis=1) if "sizes" in step else [value]
            best = [part.argmax(axis=1) for part in parts]
            value = np.stack(best, axis=1) if "sizes" in step else best[0]
        elif step["op"] == "positive":
            value = (value > 0).astype(np.int64)
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


def check_inputs(contract: Mapping[str, Any], given: Arrays) -> None:
    """Hold inputs to the contract's names and shapes, whichever part it holds.

    :raises errors.InputsUnfit: one is missing, unknown, or of another shape
    """
    wanted = {entry["name"]: entry for entry in contract["takes"]}
    for name in given:
        if name not in wanted:
            raise errors.InputsUnfit(f"there is no input '{name}'", expected=", ".join(wanted), found=name)
    for name, entry in wanted.items():
        if name not in given:
            raise errors.InputsUnfit(
                f"the input '{name}' is missing", expected=", ".join(wanted), found=", ".join(given)
            )
        shape, found = entry["shape"][1:], list(given[name].shape[1:])
        if found != shape:
            what = f"the input '{name}' ({entry['role']}) has another shape"
            if sorted(found) == sorted(shape) and entry["layout"].startswith("channel-"):
                what = f"the image '{name}' has another layout than {entry['layout']}"
            raise errors.InputsUnfit(what, expected=["batch", *shape], found=["batch", *found])


def decide(contract: Mapping[str, Any], run: Run, inputs: Arrays) -> dict[str, np.ndarray]:
    """Every output of ``predict`` from an artifact, whichever part it holds.

    :param contract: the artifact's
    :param run: the artifact in some runtime: inputs by name -> outputs by name
    :param inputs: of the whole policy, [batch, ...] by name, in the environment's units
    :raises errors.InputsUnfit: they do not hold to the contract
    """
    check_inputs(contract, inputs)
    if contract["part"] == "policy":
        return run({entry["name"]: inputs[entry["name"]] for entry in contract["inputs"]})
    ready = prologue(contract["prologue"], inputs)
    outputs = run({entry["name"]: ready[entry["name"]] for entry in contract["inputs"]})
    return {"action": epilogue(contract["epilogue"], outputs[contract["decision"]], inputs), **outputs}


def follow(contract: Mapping[str, Any], answer: Run, sequences: Arrays) -> tuple[dict[str, np.ndarray], ...]:
    """A recurrent policy through whole sequences, its new states fed back.

    :param answer: inputs of one step by name -> outputs by name, as :func:`decide` gives them
    :param sequences: inputs but for the states, [sequences, steps, ...] by name; ``keep`` is 0 where an episode
        starts
    :return: the outputs, and the states that were fed, both [sequences * steps, ...] by name
    """
    import numpy as np

    count, steps = next(iter(sequences.values())).shape[:2]
    states = {state["input"]: np.zeros((count, state["units"]), np.float32) for state in contract["states"]}
    given: list[dict[str, np.ndarray]] = []
    found: list[dict[str, np.ndarray]] = []
    for step in range(steps):
        given.append(states)
        found.append(answer({**{name: values[:, step] for name, values in sequences.items()}, **states}))
        states = {state["input"]: found[-1][state["output"]] for state in contract["states"]}

    def joined(rows: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        stacked = {name: np.stack([row[name] for row in rows], axis=1) for name in rows[0]}
        return {name: values.reshape(count * steps, *values.shape[2:]) for name, values in stacked.items()}

    return joined(found), joined(given)


def sample(contract: Mapping[str, Any], outputs: Arrays, inputs: Arrays, seed: int) -> np.ndarray:
    """An action drawn from the policy's distribution: ``epilogue(decision + noise)``, as the contract tells it.

    Gumbel noise makes an argmax a draw from the softmax, logistic noise makes ``x > 0`` a draw from the sigmoid,
    normal noise is scaled by ``exp(log_std)``.

    :param outputs: the artifact's, by name
    :param inputs: what it was given; ``action_mask`` is the only one that is used
    :return: as ``predict(deterministic=False)``: [batch, ...]
    :raises ValueError: the policy has no distribution
    """
    import numpy as np

    told = contract.get("distribution")
    if not told:
        raise ValueError(f"{contract['algorithm']} policies have no distribution")
    noise, mean = np.random.default_rng(seed), outputs[contract["decision"]].astype(np.float64)
    masks = [step for step in contract["epilogue"] if step["op"] == "mask"]
    mean = epilogue(masks, mean, inputs)
    if told["noise"] == "normal":
        drawn = mean + np.exp(outputs[told["log_std"]].astype(np.float64)) * noise.normal(size=mean.shape)
    else:
        drawn = mean + getattr(noise, told["noise"])(size=mean.shape)
    return epilogue([step for step in contract["epilogue"] if step["op"] != "mask"], drawn, inputs)


def acting(contract: Mapping[str, Any]) -> list[str]:
    """Names of the outputs that whoever acts with a policy needs: the action, and the new states."""
    return ["action", *(state["output"] for state in contract["states"])]


def chooses(steps: list[dict[str, Any]]) -> bool:
    """Whether an ``epilogue`` takes the best of some choices."""
    return any(step["op"] == "argmax" for step in steps)


def groups(contract: Mapping[str, Any]) -> list[int] | None:
    """Sizes of the groups of choices that the decision is made of; None where the action is a Box."""
    space = contract["action_space"]
    if space["type"] == "Box":
        return None
    for step in contract["epilogue"]:
        if step["op"] == "argmax":
            return step.get("sizes") or [space["n"]]
    return [1] * space["n"][0]


def gaps(contract: Mapping[str, Any], decision: np.ndarray, inputs: Arrays) -> np.ndarray:
    """How far each decision is from another: the two best choices' difference, or the distance from 0.

    :param decision: the values that are decided by, [batch, choices]
    :param inputs: ``action_mask`` is the only one that is used
    :return: [batch, decisions]; infinite where there is no other choice
    """
    import numpy as np

    masks = [step for step in contract["epilogue"] if step["op"] == "mask"]
    values = epilogue(masks, decision.astype(np.float64), inputs)
    sizes = groups(contract) or []
    found = []
    for part in np.split(values, np.cumsum(sizes)[:-1], axis=1):
        ranked = np.sort(part, axis=1)
        if part.shape[1] == 1:
            binary = contract["action_space"]["type"] == "MultiBinary"
            found.append(np.abs(part[:, 0]) if binary else np.full(len(part), np.inf))
        else:
            # A forbidden choice is no alternative; where all are forbidden the first is taken, and is as far as any.
            found.append(np.where(ranked[:, -2] <= -1e7, np.inf, ranked[:, -1] - ranked[:, -2]))
    return np.stack(found, axis=1)


def action_range(space: Mapping[str, Any]) -> np.ndarray | None:
    """``high - low`` of a Box of actions, flat; 1 where it is unbounded. None for other spaces."""
    import numpy as np

    if space["type"] != "Box":
        return None
    span = (bounds(space, "high") - bounds(space, "low")).ravel()
    return np.where(np.isfinite(span) & (span > 0), span, 1.0)
