"""The texts of a bundle for people: how to use what is in it, and what the checks found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline import gate

README, REPORT = "README.md", "report.md"

_ONNX = """import numpy
import onnxruntime  # pip install onnxruntime

policy = onnxruntime.InferenceSession("artifacts/{kind}/policy.onnx")
names = [output.name for output in policy.get_outputs()]
outputs = dict(zip(names, policy.run(names, {{{inputs}}})))"""
_LITERT = """import numpy
from ai_edge_litert.interpreter import Interpreter  # pip install ai-edge-litert

policy = Interpreter("artifacts/{kind}/policy.tflite").get_signature_runner()
outputs = policy({keywords})"""
_NUMPY = """import sys

import numpy  # pip install numpy safetensors

sys.path.insert(0, "artifacts/{kind}")
from numpy_policy import NumpyPolicy

outputs = NumpyPolicy("artifacts/{kind}")({{{inputs}}})"""
SNIPPETS = ((("onnx",), _ONNX), (("tflite", "tflite_whole"), _LITERT), (("weights",), _NUMPY))
USES = {
    "onnx": "ONNX Runtime; takes observations, gives actions",
    "onnx_core": "ONNX Runtime; the network alone, the steps around it are in `policy.json`",
    "onnx_web": "ONNX Runtime Web, and newer ONNX Runtimes",
    "savedmodel": "TensorFlow",
    "savedmodel_core": "TensorFlow; the network alone",
    "tfjs": "TensorFlow.js, `loadGraphModel`",
    "tflite": "LiteRT on CPUs, batch 1",
    "tflite_float16": "LiteRT, weights in float16",
    "tflite_quantized": "LiteRT, integers; `run_policy.py` beside it is all that a Raspberry Pi needs",
    "tflite_whole": "LiteRT, integers inside; takes observations, gives actions",
    "edgetpu": "Coral; `run_policy.py` beside it drives it",
    "micro": "C++ for microcontrollers, on TensorFlow Lite Micro",
    "torchscript": "torch in Python and C++",
    "weights": "NumPy alone, `numpy_policy.py` beside it",
}


def readme(facts: Mapping[str, Any], contract: Mapping[str, Any]) -> str:
    """For whoever unpacks the bundle.

    :param facts: see :mod:`pipeline.bundles.packing`
    :param contract: of the agent
    """
    name, where = facts["agent"], facts["environment"]
    acts = f", acts in {where}" if where else ""
    lines = [
        f"# {name}: {contract['algorithm']}{acts}",
        "",
        "A trained Stable-Baselines3 policy, converted by Slipway. Each artifact below was held to what",
        "`predict(deterministic=True)` answers, and has its mark: ✓ passed. [report.md](report.md) has the figures.",
        "",
        "| artifacts/… | runs in | |",
        "| --- | --- | --- |",
        *(f"| `{kind['kind']}` | {USES.get(kind['kind'], kind['says'])} | {_mark(kind)} |" for kind in facts["kinds"]),
        "",
        *_waivers(facts),
        *_left_out(facts),
        *_using(facts, contract),
        *_checking(name),
        *_rest(facts),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _mark(kind: Mapping[str, Any]) -> str:
    return "✓" if kind["status"] == "passed" else "! waived"


def _waivers(facts: Mapping[str, Any]) -> list[str]:
    waived = [kind for kind in facts["kinds"] if kind["status"] == "waived"]
    if not waived:
        return []
    found = ["**Waived**: these failed their check, and are here because whoever released them said so.", ""]
    for kind in waived:
        reason = kind["waiver"].get("reason", "")
        found.append(f"- `{kind['kind']}`: {kind['waiver'].get('of', '')}. The reason given: “{reason}”")
    return [*found, ""]


def _left_out(facts: Mapping[str, Any]) -> list[str]:
    if not facts["left_out"]:
        return []
    words = {"failed": "failed", "not_run": "not run", "not_built": "not built"}
    found = [f"- `{one['kind']}`, {words[one['status']]}: {one['reason']}" for one in facts["left_out"]]
    return ["Not in this bundle:", "", *found, ""]


def _using(facts: Mapping[str, Any], contract: Mapping[str, Any]) -> list[str]:
    takes = contract["takes"]
    listed = [f"- `{one['name']}`, {one['dtype']} {_shape(one['shape'])}, {one['layout']}" for one in takes]
    there = {kind["kind"] for kind in facts["kinds"]}
    found = ["## Using it", "", "What goes in, in the environment's units:", "", *listed, ""]
    given = {one["name"]: f"numpy.zeros({_sizes(one['shape'])}, numpy.{one['dtype'].replace('bool', 'bool_')})"
             for one in takes}  # fmt: skip
    pairs = ", ".join(f'"{name}": {value}' for name, value in given.items())
    keywords = ", ".join(f"{name}={value}" for name, value in given.items())
    for kinds, snippet in SNIPPETS:
        for kind in [kind for kind in kinds if kind in there][:1]:
            text = snippet.format(kind=kind, inputs=pairs, keywords=keywords)
            found += ["```python", text, 'print(outputs["action"])', "```", ""]
    return [
        *found,
        "`policy.json` beside each artifact is its contract: inputs and outputs by name, the float steps before and",
        "behind the network where the artifact is the network alone, and golden vectors. `golden.json` has inputs with",
        "what `predict` answers to them: feed them to your port and compare.",
        "",
    ]


def _shape(shape: list[Any]) -> str:
    return "[" + ", ".join(map(str, shape)) + "]"


def _sizes(shape: list[Any]) -> str:
    sizes = [1 if size == "batch" else size for size in shape]
    return "(" + ", ".join(map(str, sizes)) + ("," if len(sizes) == 1 else "") + ")"


def _checking(name: str) -> list[str]:
    return [
        "## Checking it",
        "",
        "```sh",
        "sha256sum -c SHA256SUMS  # in this folder",
        "```",
        "",
        "holds the files to the list in the bundle itself. Whether that is the releaser's, only a signature tells.",
        f"With `{name}.tar.zst.sig` beside the archive, and the releaser's public key from a place that you trust:",
        "",
        "```sh",
        'echo "releaser $(cat KEY.pub)" > signers',
        f"ssh-keygen -Y verify -f signers -I releaser -n slipway -s {name}.tar.zst.sig < {name}.tar.zst",
        "```",
        "",
        f"In a clone of Slipway, `./doit verify {name}.tar.zst --signer KEY.pub` does both, runs the golden",
        "vectors, and executes nothing out of it. With `--rebuild` it builds the bundle anew from the agent's archive.",
        "",
    ]


def _rest(facts: Mapping[str, Any]) -> list[str]:
    licence = facts["licence"]
    source = "the agent's archive (`source/`), " if facts["source"] else ""
    return [
        "## What else is here",
        "",
        "`provenance.json` (what went in, by which steps, what came out; in-toto, SLSA), `bom.cdx.json` (the packages",
        f"of every toolchain, with licences; CycloneDX), `verdicts/`, `config.toml`, {source}`locks/`, `licences/`.",
        "",
        f"The agent's own licence: {licence}." if licence else "The agent's own licence is not stated here.",
        "What Slipway adds (`run_policy.py`, `numpy_policy.py`, C++ around a network) is under `licences/slipway.txt`.",
        "The other artifacts are graphs and weights, and hold no code of the libraries that made them.",
    ]


def report(facts: Mapping[str, Any], verdicts: Mapping[str, Mapping[str, Any]]) -> str:
    """What the checks found.

    :param verdicts: as stored, by ``KIND/RUNTIME``
    """
    lines = [
        f"# {facts['agent']}: what the checks found",
        "",
        "| artifact | in | verdict | by |",
        "| --- | --- | --- | --- |",
        *(_row(name, verdict) for name, verdict in verdicts.items()),
        "",
        *(f"- {finding}" for finding in facts["findings"]),
    ]
    reasons = [f"- {name}: {verdict['reason']}" for name, verdict in verdicts.items() if verdict["reason"]]
    return "\n".join([*lines, *reasons]).rstrip() + "\n"


def _row(name: str, verdict: Mapping[str, Any]) -> str:
    kind, _, runtime = name.partition("/")
    return f"| {kind} | {runtime} | {verdict['status'].replace('_', ' ')} | {figures(verdict['figures'])} |"


def figures(found: Mapping[str, Any]) -> str:
    """What a verdict decided by, in words."""
    said = []
    if "closed_loop" in found:
        said.append(gate.phrase(found["closed_loop"]))
    if "decisions" in found:
        decided = found["decisions"]
        excused = f", {decided['excused']} too close to call" if decided["excused"] else ""
        said.append(f"{decided['equal']} of {found['observations']} decisions equal{excused}")
    elif "outputs" in found:
        said.append(
            f"largest action error {found['outputs']['action']['max']:.1e} on {found['observations']} observations"
        )
    return "; ".join(said)
