"""The quantized core -> one TFLite file for CPUs: raw observation in, action out. Prologue and epilogue are in float,
by TFLiteConverter from the contract's steps; the core between them is the checked one, integer for integer.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.hops import fixed_batch, tflite_joined

if TYPE_CHECKING:
    from collections.abc import Callable

    import tensorflow as tf

    Tensors = dict[str, tf.Tensor]


def convert(source: Path, target: Path, contract: dict[str, Any], settings: dict[str, Any]) -> None:
    """Write ``policy.tflite``, which is the whole policy."""
    import numpy as np
    import tensorflow as tf

    core = (source / contract["files"][0]).read_bytes()
    before: dict[str, list[dict[str, Any]]] = {step["input"]: [] for step in contract["prologue"]}
    for step in contract["prologue"]:
        before[step["input"]].append(step)
    entries = {entry["name"]: entry for entry in contract["takes"]}
    takes = {*before, *(step["by"] for step in contract["prologue"] if "by" in step)}

    def prologue(given: Tensors) -> Tensors:
        return {name: _before(steps, given) for name, steps in before.items()}

    interpreter = tf.lite.Interpreter(model_content=core)
    decided = interpreter.get_signature_runner().get_output_details()[contract["decision"]]
    masks = [step["input"] for step in contract["epilogue"] if step["op"] == "mask"]
    ends = {contract["decision"]: tf.TensorSpec(decided["shape"], tf.float32, name=contract["decision"])}
    ends |= {name: _spec(entries[name]) for name in masks}

    def epilogue(given: Tensors) -> Tensors:
        return {"action": _behind(contract["epilogue"], given[contract["decision"]], given)}

    parts = [core, _lite(epilogue, ends)]
    if before:
        parts.insert(0, _lite(prologue, {name: _spec(entries[name]) for name in sorted(takes)}))
    names = ["action", *(output["name"] for output in contract["outputs"])]
    content = tflite_joined.joined(parts, names)
    (target / fixed_batch.FILE).write_bytes(content)
    contract["part"] = "policy"
    contract.pop("sha256", None)  # of the core
    contract["inputs"] = [dict(entry) for entry in contract["takes"]]
    action = {"name": "action", "shape": [], "dtype": str(np.dtype("float32"))}
    contract["outputs"] = [action, *contract["outputs"]]
    fixed_batch.describe(content, contract)


def _spec(entry: dict[str, Any]) -> tf.TensorSpec:
    import tensorflow as tf

    return tf.TensorSpec([1, *entry["shape"][1:]], entry["dtype"], name=entry["name"])


def _lite(act: Callable[[Tensors], Tensors], specs: dict[str, tf.TensorSpec]) -> bytes:
    """A function of named tensors as a TFLite file."""
    import tensorflow as tf

    module = tf.Module()
    function = tf.function(lambda **given: act(given), autograph=False).get_concrete_function(**specs)
    return fixed_batch.convert(tf.lite.TFLiteConverter.from_concrete_functions([function], module))


def _before(steps: list[dict[str, Any]], given: Tensors) -> tf.Tensor:
    """One input through its steps of the prologue, as :func:`pipeline.contract.prologue`."""
    import numpy as np
    import tensorflow as tf

    value = given[steps[0]["input"]]
    for step in steps:
        shape = value.shape[1:]
        if step["op"] == "normalize":
            mean, variance = (np.array(step[key]).reshape(shape) for key in ("mean", "variance"))
            deviation = np.sqrt(variance + step["epsilon"])
            value = (value - tf.constant(mean, tf.float32)) * tf.constant(1 / deviation, tf.float32)
            value = tf.clip_by_value(value, -float(step["clip"]), float(step["clip"]))
        elif step["op"] == "equalize":
            middle, half = (np.array(step[key]).reshape(shape) for key in ("middle", "half"))
            value = (value - tf.constant(middle, tf.float32)) * tf.constant(1 / half, tf.float32)
        elif step["op"] == "one_hot":
            index = tf.reshape(value, [1, len(step["sizes"])])
            parts = [tf.cast(tf.equal(index[:, i : i + 1], tf.range(n, dtype=index.dtype)), tf.float32)
                     for i, n in enumerate(step["sizes"])]  # fmt: skip
            value = tf.concat(parts, axis=1)
        elif step["op"] == "reset":
            value = value * given[step["by"]]
        else:
            raise ValueError(f"unknown prologue step {step['op']!r}")
    return tf.cast(value, tf.float32)


def _behind(steps: list[dict[str, Any]], value: tf.Tensor, given: Tensors) -> tf.Tensor:
    """The epilogue, as :func:`pipeline.contract.epilogue`."""
    import numpy as np
    import tensorflow as tf

    for step in steps:
        low, high = (np.array(step.get(key, 0), np.float32) for key in ("low", "high"))
        if step["op"] == "mask":
            value = tf.where(given[step["input"]], value, tf.constant(step["value"], tf.float32))
        elif step["op"] == "argmax":
            parts = tf.split(value, step["sizes"], axis=1) if "sizes" in step else [value]
            best = [tf.argmax(part, axis=1) for part in parts]
            value = tf.stack(best, axis=1) if "sizes" in step else best[0]
        elif step["op"] == "positive":
            value = tf.cast(value > 0, tf.int64)
        elif step["op"] == "tanh":
            value = tf.tanh(value)
        elif step["op"] == "clip":
            value = tf.minimum(tf.maximum(value, low), high)
        elif step["op"] == "unscale":
            value = low + (value + 1.0) * (np.float32(0.5) * (high - low))
        elif step["op"] == "reshape":
            value = tf.reshape(value, [1, *step["shape"]])
        else:
            raise ValueError(f"unknown epilogue step {step['op']!r}")
    return tf.identity(value)
