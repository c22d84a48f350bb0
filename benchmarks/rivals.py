"""What Slipway's integers are compared with: the public recipe for a Coral, and parts of our own left out.

The recipe is the one that SB3's export guide points to, github.com/chunky/sb3_to_coral, ``model_conv.py`` at 9c8e519.
It loads the archive with SB3 and an environment; exports ``Sequential(actor.latent_pi, actor.mu)`` to ONNX; goes
through onnx-tf to a SavedModel; and has TFLiteConverter quantize that in full (``Optimize.DEFAULT``,
``TFLITE_BUILTINS_INT8``, float inputs and outputs), calibrated on 100,000 draws of the environment's
``observation_space.sample()``. VecNormalize, tanh and rescaling are not in it: a comment leaves them to the reader.

Three variants of it are run:

- ``example``: as written, but for gymnasium in the place of gym, and each archive's own algorithm in that of SAC. SB3's
  load **executes the archive's pickles**.
- ``example_space``: as kind as can be. Our loader; the network of any algorithm; VecNormalize before it and the steps
  to the action behind it in float, where they cost nothing; the same draws.
- ``example_normal``: the same, calibrated on standard normal numbers.

Two ablations are ours but for the rounding of weights, which is TensorFlow's own, each to its nearest integer:
``int8_nearest`` and ``int16x8_nearest``.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import contract as contracts

if TYPE_CHECKING:
    import numpy as np
    import torch

    from benchmarks.measuring import Job

    Arrays = dict[str, np.ndarray]

EXAMPLES = {"example": "space", "example_space": "space", "example_normal": "normal"}
ABLATIONS = {"int8_nearest": "int8", "int16x8_nearest": "int16"}
DRAWS = 100_000  # of the recipe
ONNX, CONTRACT, SAMPLES = "policy.onnx", "policy.json", "samples.npz"


def export(job: Job) -> dict[str, str]:
    """In the torch toolchain: every variant of the recipe as far as ONNX, with what it is calibrated on.

    :param job: ``home``, the agent's artifacts; ``environment``; ``folder``, to write a folder for each variant into
    :return: by variant why it could not be followed; "" where it could
    """
    from pipeline.agents import environments

    source = Path(job["home"]) / "sb3"
    contract = contracts.load(source)
    env = environments.make(job["environment"])
    drawn = _drawn(env, contract)
    found = {}
    for variant, calibrated in EXAMPLES.items():
        target = Path(job["folder"]) / variant
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        try:
            make = _as_written if variant == "example" else _as_kind
            module, held = make(source, contract, env)
            rows = drawn if calibrated == "space" else _normal(held)
            rows = rows if variant == "example_normal" else contracts.prologue(held["prologue"], rows)
            _write(module, held, rows, target)
            found[variant] = ""
        except (Exception, SystemExit) as error:  # whatever it is, it is the recipe's result
            print(f"{job['name']} {variant}: {type(error).__name__}: {error}")
            found[variant] = _line(error)
    env.close()
    return found


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:200]


def _drawn(env: Any, contract: dict[str, Any]) -> Arrays:
    """Draws of the environment's observation space, as the contract's inputs: [rows, ...], float32."""
    import numpy as np
    from gymnasium.vector.utils import batch_space

    from pipeline.agents import environments

    space = batch_space(env.observation_space, DRAWS)  # as many samples at once
    space.seed(0)
    return {name: v.astype(np.float32) for name, v in environments.observed(env, space.sample(), contract).items()}


def _normal(contract: dict[str, Any]) -> Arrays:
    import numpy as np

    rng = np.random.default_rng(0)
    shapes = {entry["name"]: entry["shape"][1:] for entry in contract["inputs"]}
    return {name: rng.standard_normal((DRAWS, *shape)).astype(np.float32) for name, shape in shapes.items()}


def _as_written(source: Path, contract: dict[str, Any], env: Any) -> tuple[torch.nn.Module, dict[str, Any]]:
    """The recipe's own module, and what a caller of its file has to know: the observation in, the action out."""
    import torch

    from pipeline.agents import policies

    cls = policies.algorithm_class(contract["algorithm"])
    actor = cls.load(source / "agent.zip", env=env, device="cpu").policy.actor
    module = torch.nn.Sequential(actor.latent_pi, actor.mu)
    shape = contract["action_space"]["shape"]
    steps = [] if len(shape) == 1 else [{"op": "reshape", "shape": shape}]
    return module, {**_core(contract, contract["takes"]), "prologue": [], "epilogue": steps}


def _as_kind(source: Path, contract: dict[str, Any], env: Any) -> tuple[torch.nn.Module, dict[str, Any]]:
    """The network alone, as trained, rebuilt without executing the archive."""
    from pipeline.agents import exported, jobs

    if contract["states"] or any(entry["role"] == "mask" for entry in contract["takes"]):
        raise ValueError("the recipe has no code for states and masks")
    parts = jobs.open_agent(source).parts
    held = _core(contract, exported.inputs_of(parts, "core"))
    return exported.Exported(parts, contract["observation_space"], "core", [contract["decision"]]), held


def _core(contract: dict[str, Any], inputs: list[dict[str, Any]]) -> dict[str, Any]:
    outputs = [output for output in contract["outputs"] if output["name"] == contract["decision"]]
    return {**contract, "part": "core", "inputs": inputs, "outputs": outputs, "distribution": {}}


def _write(module: torch.nn.Module, contract: dict[str, Any], rows: Arrays, target: Path) -> None:
    """ONNX of one observation, as the recipe has it; onnx-tf is given the opset that it takes most safely."""
    import numpy as np
    import torch

    if not all(np.isfinite(values).all() for values in rows.values()):
        raise ValueError("draws of the observation space are infinite")
    names = [entry["name"] for entry in contract["inputs"]]
    samples = tuple(torch.from_numpy(rows[name][:1].copy()) for name in names)
    held: dict[str, Any] = {"input_names": names, "output_names": [contract["decision"]]}
    module.eval().requires_grad_(False)
    torch.onnx.export(module, samples, str(target / ONNX), opset_version=14, dynamo=False, **held)
    contracts.dump(contract, target)
    np.savez(target / SAMPLES, **{name: rows[name] for name in names})  # type: ignore[arg-type]


def convert(job: Job) -> dict[str, str]:
    """In the tensorflow toolchain: every method as ``policy.tflite`` and contract.

    :param job: as of :func:`export`; ``variants``, those that could be followed so far
    :return: by method why it could not be made; "" where it could
    """
    found = {}
    for method in (*job["variants"], *ABLATIONS):
        target = Path(job["folder"]) / method
        try:
            if method in ABLATIONS:
                _ablation(Path(job["home"]), target, ABLATIONS[method])
            else:
                _quantized(target)
            found[method] = ""
        except Exception as error:
            print(f"{job['name']} {method}: {type(error).__name__}: {error}")
            found[method] = _line(error)
    return found


def _quantized(target: Path) -> None:
    """The recipe from ONNX to TFLite."""
    import numpy as np
    import onnx
    import onnx_tf.backend
    import tensorflow as tf

    from pipeline.hops import fixed_batch

    onnx_tf.backend.prepare(onnx.load(str(target / ONNX))).export_graph(str(target / "saved_model"))
    with np.load(target / SAMPLES) as stored:
        rows = {name: stored[name] for name in stored.files}
    converter = tf.lite.TFLiteConverter.from_saved_model(str(target / "saved_model"))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (
        {name: values[row : row + 1] for name, values in rows.items()} for row in range(DRAWS)
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.target_spec.supported_types = [tf.int8]
    converter.inference_input_type = converter.inference_output_type = tf.float32
    content = converter.convert()
    (target / fixed_batch.FILE).write_bytes(content)
    contract = contracts.load(target)
    fixed_batch.describe(content, contract)
    contracts.dump(contract, target)
    (target / SAMPLES).unlink()


def _ablation(home: Path, target: Path, activations: str) -> None:
    """The hop itself, on the same calibration, with its rounding taken out."""
    from pipeline.hops import savedmodel_to_tflite_int8 as hop
    from pipeline.hops import tflite_rounding

    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    contract = contracts.load(home / "savedmodel_core")
    settings = {"activations": activations, "ranges": "extremes", "head": "int8"}
    ours = tflite_rounding.round_together
    tflite_rounding.round_together = lambda content, exact, inputs: content
    try:
        hop.convert(home / "savedmodel_core", target, contract, {**settings, "calibration": str(home / "calibration")})
    finally:
        tflite_rounding.round_together = ours
    contracts.dump(contract, target)
