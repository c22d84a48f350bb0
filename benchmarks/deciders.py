"""One artifact in one runtime, called as leanly as a user would, in a process of its own.

    python -m benchmarks.deciders METHOD FOLDER OBSERVATIONS WIDTH

OBSERVATIONS is a file of float32, [rows, WIDTH]. The process loads, decides once and prints ``ready``; then it answers
lines of standard input in lines of JSON, as ``deciders.mjs`` and ``decider.cpp`` do:

    time BATCH SECONDS      nanoseconds of each decision about BATCH observations, taken for SECONDS
    act                     the action of every observation, one row at a time

Observations lie ready in the form that the runtime takes. An action is read out of every answer.
"""

from __future__ import annotations

import itertools
import json
import pickle
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Decide = Callable[[Any], Any]  # what was prepared -> the action
    Prepare = Callable[[np.ndarray], Any]  # rows -> what the runtime takes


def sb3(folder: Path) -> tuple[Prepare, Decide]:
    """``predict(deterministic=True)``, on observations that VecNormalize has normalized already."""
    policy, normalize = _sb3(folder)

    def prepare(rows: np.ndarray) -> np.ndarray:
        ready = normalize(rows)
        return ready[0] if len(rows) == 1 else ready

    return prepare, lambda given: policy.predict(given, deterministic=True)[0]


def sb3_normalized(folder: Path) -> tuple[Prepare, Decide]:
    """The same on the environment's own observations."""
    policy, normalize = _sb3(folder)
    return _single, lambda given: policy.predict(normalize(given), deterministic=True)[0]


def _sb3(folder: Path) -> tuple[Any, Decide]:
    import stable_baselines3
    import torch

    torch.set_num_threads(1)
    contract = json.loads((folder / "policy.json").read_text(encoding="utf-8"))
    policy = getattr(stable_baselines3, contract["algorithm"]).load(folder / "agent.zip", device="cpu")
    statistics = folder / "vecnormalize.pkl"
    if not statistics.is_file():
        return policy, lambda rows: rows
    normalize: Decide = pickle.loads(statistics.read_bytes()).normalize_obs  # our own file
    return policy, normalize


def _single(rows: np.ndarray) -> np.ndarray:
    return rows[0] if len(rows) == 1 else rows


def onnx(folder: Path) -> tuple[Prepare, Decide]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / "policy.onnx"), options, providers=["CPUExecutionProvider"])
    return lambda rows: {"observation": rows}, lambda given: session.run(["action"], given)[0]


def savedmodel(folder: Path) -> tuple[Prepare, Decide]:
    import tensorflow as tf

    policy = tf.saved_model.load(str(folder / "saved_model")).signatures["serving_default"]
    return tf.constant, lambda given: policy(observation=given)["action"].numpy()


def torchscript(folder: Path) -> tuple[Prepare, Decide]:
    import torch

    torch.set_num_threads(1)
    policy = torch.jit.load(str(folder / "policy.pt"))

    def decide(given: Any) -> Any:
        with torch.inference_mode():
            return policy(given)[0].numpy()

    return torch.from_numpy, decide


def weights(folder: Path) -> tuple[Prepare, Decide]:
    sys.path.insert(0, str(folder))
    from numpy_policy import NumpyPolicy  # type: ignore[import-not-found]

    policy = NumpyPolicy(folder)
    return lambda rows: {"observation": rows}, lambda given: policy(given)["action"]


def litert(folder: Path) -> tuple[Prepare, Decide]:
    """A whole policy: observation set, invoked, action read."""
    interpreter, takes, gives = _litert(folder)
    action = next(entry["index"] for name, entry in gives.items() if name == "action")

    def decide(row: np.ndarray) -> Any:
        interpreter.set_tensor(takes["index"], row)
        interpreter.invoke()
        return interpreter.get_tensor(action)

    return _in_turn(decide)


def litert_core(folder: Path) -> tuple[Prepare, Decide]:
    """A network in integers, with the float steps of its contract around it."""
    interpreter, takes, gives = _litert(folder)
    contract = json.loads((folder / "policy.json").read_text(encoding="utf-8"))
    gives = gives[contract["decision"]]

    def core(quantized: np.ndarray) -> Any:
        interpreter.set_tensor(takes["index"], quantized)
        interpreter.invoke()
        return interpreter.get_tensor(gives["index"])

    return _in_turn(_around(contract, core, takes["dtype"], takes["quantization"], gives["quantization"]))


def tflite_micro(folder: Path) -> tuple[Prepare, Decide]:
    """The same core in TensorFlow Lite Micro's reference kernels; they are portable, and not fast here."""
    import numpy as np
    from tflite_micro import runtime

    contract = json.loads((folder / "policy.json").read_text(encoding="utf-8"))
    interpreter = runtime.Interpreter.from_bytes((folder / "policy.tflite").read_bytes(), arena_size=1 << 20)
    scales = contract["quantization"]
    before, behind = (
        (scales[name]["scale"], scales[name]["zero_point"]) for name in ("observation", contract["decision"])
    )

    def core(quantized: np.ndarray) -> Any:
        interpreter.set_input(quantized, 0)
        interpreter.invoke()
        return interpreter.get_output(0)

    return _in_turn(_around(contract, core, np.dtype(contract["inputs"][0]["dtype"]), before, behind))


def _litert(folder: Path) -> tuple[Any, dict[str, Any], dict[str, dict[str, Any]]]:
    """The interpreter; what it takes; and what it gives by its signature's names."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(folder / "policy.tflite"), num_threads=1)
    interpreter.allocate_tensors()
    named = interpreter.get_signature_runner().get_output_details()
    (takes,) = interpreter.get_input_details()
    return interpreter, takes, named


def _in_turn(decide: Decide) -> tuple[Prepare, Decide]:
    """A file of batch 1: more observations are decided about one after the other."""
    return lambda rows: [row[None] for row in rows], lambda given: [decide(row) for row in given]


def _around(contract: dict[str, Any], core: Decide, dtype: Any, before: Any, behind: Any) -> Decide:
    """Prologue, quantization, core, epilogue: the arithmetic that the contract tells, its constants made ready.

    :param before: scale and zero point of the input; scale 0 where it is a float
    :param behind: of the output
    """
    import numpy as np

    steps = [
        (np.array(step["mean"]), np.sqrt(np.add(step["variance"], step["epsilon"])), float(step["clip"]))
        if step["op"] == "normalize"
        else (np.array(step["middle"]), np.array(step["half"]), np.inf)
        for step in contract["prologue"]
    ]
    limits = np.iinfo(dtype) if np.dtype(dtype).kind == "i" else None
    ends = {step["op"]: step for step in contract["epilogue"]}
    unknown = set(ends) - {"argmax", "tanh", "unscale"}
    if unknown:
        raise ValueError(f"the benchmark has no code for {unknown}")
    low, high = (np.array(ends.get("unscale", {}).get(key, 0), np.float32) for key in ("low", "high"))

    def decide(row: np.ndarray) -> Any:
        x: Any = row
        for middle, half, clip in steps:
            x = (x - middle) / half
            if clip < np.inf:
                x = np.clip(x, -clip, clip)
        if limits:
            x = np.clip(np.rint(x / before[0]) + before[1], limits.min, limits.max)
        y = core(x.astype(dtype))
        if limits:
            y = (y.astype(np.float32) - behind[1]) * behind[0]
        if "argmax" in ends:
            return y.argmax(axis=1)
        y = np.tanh(y) if "tanh" in ends else y
        return low + 0.5 * (y + 1) * (high - low) if "unscale" in ends else y

    return decide


def serve(prepare: Prepare, decide: Decide, rows: np.ndarray) -> None:
    """Answer standard input; see the head of this module."""
    import numpy as np

    said = print
    decide(prepare(rows[:1]))
    said("ready", flush=True)
    for line in sys.stdin:
        what, *numbers = line.split()
        if what == "act":
            actions = [np.ravel(decide(prepare(row[None]))).astype(float).tolist() for row in rows]
            said(json.dumps(actions), flush=True)
            continue
        batch, seconds = int(numbers[0]), float(numbers[1])
        ready = [prepare(rows[i : i + batch]) for i in range(0, len(rows) - batch + 1, batch)]
        said(json.dumps(timed(decide, ready, seconds)), flush=True)


def timed(decide: Decide, ready: list[Any], seconds: float) -> list[int]:
    """Nanoseconds of each decision; the first in a slice is taken and not counted, as caches are another's."""
    decide(ready[-1])
    clock, found = time.perf_counter_ns, []
    end = clock() + int(seconds * 1e9)
    for given in itertools.cycle(ready):
        begun = clock()
        decide(given)
        ended = clock()
        found.append(ended - begun)
        if ended > end:
            return found
    return found


def main(arguments: list[str]) -> None:
    method, folder, observations, width = arguments
    import numpy as np

    rows = np.fromfile(observations, np.float32).reshape(-1, int(width))
    serve(*globals()[method](Path(folder)), rows)


if __name__ == "__main__":
    main(sys.argv[1:])
