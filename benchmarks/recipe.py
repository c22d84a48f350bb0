"""The documented way from SB3 to every format, as scripts: one fresh process a step, and no checks.

    python -m benchmarks.recipe STEP HOME TARGET

After SB3's export guide: load, wrap the policy and export it to ONNX with opset 14; onnx-tf to a SavedModel; TFLite in
float and in int8; ``tensorflowjs_converter``; and ``torch.jit.trace``. Two things are kinder than the guide: Slipway's
loader opens the archive, as SB3's own opens only the newest; and the exporter is at once the one that the guide was
written for, as today's default fails on most policies.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks import watching
from benchmarks.measuring import ROOT, Job
from pipeline import toolchains

STEPS = {"onnx": "torch", "savedmodel": "tensorflow", "tflite": "tensorflow", "tfjs": "tensorflow", "trace": "torch"}
NEEDS = {"savedmodel": "onnx", "tflite": "savedmodel", "tfjs": "savedmodel"}
DRAWS = 1000  # that int8 is calibrated on; sb3_to_coral, which the guide points to, takes a hundred times as many


def follow(home: Path, target: Path) -> dict[str, Job]:
    """Run the scripts for an agent, one after the other; by step ``seconds``, ``cpu`` and ``reason`` ("" if it worked).

    :param home: the agent's artifacts, of which the archive is taken
    """
    target.mkdir(parents=True)
    found: dict[str, Job] = {}
    for step, toolchain in STEPS.items():
        if found.get(NEEDS.get(step, ""), {}).get("reason"):
            found[step] = {"seconds": 0.0, "cpu": 0.0, "reason": f"there is no {NEEDS[step]}"}
            continue
        command = [toolchains.python(toolchain), "-m", "benchmarks.recipe", step, str(home), str(target)]
        if step == "tfjs":
            how = ["--input_format=tf_saved_model", "--output_format=tfjs_graph_model"]
            places = [str(target / "savedmodel"), str(target / "tfjs")]
            command = [toolchains.python(toolchain), "-m", "tensorflowjs.converters.converter", *how, *places]
        took = watching.run(command, ROOT, toolchains.environment(), looks=False)
        lines = [line.strip() for line in took.said.splitlines() if line.strip()]
        reason = lines[-1][:200] if took.code and lines else "it failed" if took.code else ""
        found[step] = {"seconds": took.seconds, "cpu": took.cpu, "reason": reason}
    return found


def onnx(home: Path, target: Path) -> None:
    import torch

    module, dummy = _wrapped(home)
    torch.onnx.export(module, dummy, str(target / "policy.onnx"), opset_version=14, input_names=["input"], dynamo=False)


def trace(home: Path, target: Path) -> None:
    import torch

    module, dummy = _wrapped(home)
    frozen = torch.jit.freeze(torch.jit.trace(module.eval(), dummy))
    torch.jit.save(torch.jit.optimize_for_inference(frozen), str(target / "traced.pt"))


def _wrapped(home: Path) -> tuple[Any, Any]:
    """The guide's wrapper, and an observation drawn as it draws one."""
    import stable_baselines3  # noqa: F401 (whoever follows the guide loads with it)
    import torch

    from pipeline.agents import documented, jobs

    contract = json.loads((home / "sb3" / "policy.json").read_text(encoding="utf-8"))
    told = documented._uncovered(contract)
    if told:
        sys.exit(str(told["uncovered"]))
    policy = jobs.open_agent(home / "sb3").policy
    return documented._wrapper(policy, contract["algorithm"]), torch.randn(1, *policy.observation_space.shape)


def savedmodel(home: Path, target: Path) -> None:
    import onnx
    import onnx_tf.backend

    onnx_tf.backend.prepare(onnx.load(str(target / "policy.onnx"))).export_graph(str(target / "savedmodel"))


def tflite(home: Path, target: Path) -> None:
    import numpy as np
    import tensorflow as tf

    saved = str(target / "savedmodel")
    (target / "float32.tflite").write_bytes(tf.lite.TFLiteConverter.from_saved_model(saved).convert())
    converter = tf.lite.TFLiteConverter.from_saved_model(saved)
    (given,) = tf.saved_model.load(saved).signatures["serving_default"].structured_input_signature[1].values()
    rows = np.random.default_rng(0).standard_normal((DRAWS, *given.shape.as_list())).astype(np.float32)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([row] for row in rows)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    (target / "int8.tflite").write_bytes(converter.convert())


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
