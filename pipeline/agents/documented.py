"""What Stable-Baselines3's own export guide makes of an agent, followed as written: the baseline of a folder's table.

The guide (``docs/guide/export.rst``): load, wrap the policy (of SAC and its kin the actor), ``torch.onnx.export``
with opset 17 from one random observation, run in ONNX Runtime, take the first output for the action. It mentions
neither VecNormalize nor, in its code, clipping and rescaling. What fails is a finding, not an error of ours.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import contract as contracts

if TYPE_CHECKING:
    import numpy as np

LOADS, EXPORTS, ANSWERS = "loads.json", "exports.json", "answers.json"
WITH_ACTOR = ("SAC", "TQC", "CrossQ")
EXPORTERS: dict[str, dict[str, Any]] = {"default": {}, "dynamo=False": {"dynamo": False}}


def export(source: Path, target: Path, settings: dict[str, Any]) -> None:
    """Load the archive and export it -> ``loads.json``; and where there is a policy ``exports.json`` and its files.

    :param source: the ``sb3`` artifact
    :param settings: ``as_written``: load with SB3's own ``load``, which executes what the archive's pickles hold;
        else take the policy that Slipway rebuilt without executing any. ``observations``: the artifact
    """
    contract = contracts.load(source)
    if settings["as_written"]:
        print("baseline=yes: SB3's own load, which executes what the archive's pickles hold")
        policy, failure = _load(source / "agent.zip", contract["algorithm"])
        write(target / LOADS, {"loads": failure or "yes"})
        if failure:
            return
    else:
        from pipeline.agents import jobs

        policy = jobs.open_agent(source).policy
    found = _uncovered(contract) or _exported(policy, contract, target, Path(settings["observations"]))
    write(target / EXPORTS, {"policy": "as written" if settings["as_written"] else "rebuilt", **found})


def _load(path: Path, algorithm: str) -> tuple[Any, str]:
    """The policy and "", or None and the class of what ``load`` raised."""
    from pipeline.agents import policies

    try:
        return policies.algorithm_class(algorithm).load(path, device="cpu").policy, ""
    except (Exception, SystemExit) as error:
        print(f"load: {type(error).__name__}: {error}")
        return None, type(error).__name__


def _uncovered(contract: dict[str, Any]) -> dict[str, Any]:
    """What the guide has no code for."""
    if contract["algorithm"] == "RecurrentPPO":
        return {"uncovered": "the guide does not cover recurrent policies"}
    if contract["observation_space"]["type"] == "Dict":
        return {"uncovered": "the guide has no code for Dict observations"}
    return {}


def _exported(policy: Any, contract: dict[str, Any], target: Path, observations: Path) -> dict[str, Any]:
    """Export with the exporter that the guide gets today, and where that fails with the one that it was written for."""
    import torch

    wrapper = _wrapper(policy, contract["algorithm"])
    shape = list(policy.observation_space.shape)
    seen = rows(observations, shape)
    tried: dict[str, str] = {}
    for name, how in EXPORTERS.items():
        try:
            dummy = torch.randn(1, *shape)
            file = str(target / "policy.onnx")
            torch.onnx.export(wrapper, dummy, file, opset_version=17, input_names=["input"], **how)  # type: ignore[arg-type]
            tried[name] = "yes"
            _answer_in_torch(wrapper, seen, target)
            break
        except Exception as error:
            print(f"export ({name}): {type(error).__name__}: {error}")
            tried[name] = type(error).__name__
    return {"exporters": tried, "shape": shape}


def _wrapper(policy: Any, algorithm: str) -> Any:
    """The guide's two classes."""
    import torch

    class OnnxableSB3Policy(torch.nn.Module):
        def __init__(self, policy: Any) -> None:
            super().__init__()
            self.policy = policy

        def forward(self, observation: torch.Tensor) -> Any:
            return self.policy(observation, deterministic=True)

    class OnnxablePolicy(torch.nn.Module):
        def __init__(self, actor: Any) -> None:
            super().__init__()
            self.actor = actor

        def forward(self, observation: torch.Tensor) -> Any:
            return self.actor(observation, deterministic=True)

    return OnnxablePolicy(policy.actor) if algorithm in WITH_ACTOR else OnnxableSB3Policy(policy)


def rows(observations: Path, shape: list[int]) -> np.ndarray:
    """What the export is run on: the guide's zeros, then the agent's observations as they are, images channel-first."""
    import numpy as np

    with np.load(observations / "observations.npz") as stored:
        seen = stored["observation"].astype(np.float32)
    if seen.ndim == 4 and list(seen.shape[1:]) != shape:
        seen = np.moveaxis(seen, -1, 1)
    return np.concatenate([np.zeros((1, *shape), np.float32), seen.reshape(len(seen), *shape)])


def _answer_in_torch(wrapper: Any, seen: np.ndarray, target: Path) -> None:
    """The wrapper's first output, one observation at a time, as the guide compares it."""
    import numpy as np
    import torch

    with torch.no_grad():
        answers = [wrapper(torch.from_numpy(row[None].copy())) for row in seen]
    first = [answer[0] if isinstance(answer, tuple) else answer for answer in answers]
    np.savez(target / "wrapper.npz", output=torch.cat(first).numpy())


def answer(source: Path, target: Path, settings: dict[str, Any]) -> None:
    """Run the exported file in ONNX Runtime -> ``answers.json``: as its wrapper? as ``predict``?

    :param source: what :func:`export` made
    :param settings: ``observations``: the artifact; ``absolute`` and ``relative`` tolerance
    """
    import numpy as np
    import onnxruntime

    seen = rows(Path(settings["observations"]), json.loads((source / EXPORTS).read_text(encoding="utf-8"))["shape"])
    try:
        session = onnxruntime.InferenceSession(str(source / "policy.onnx"), providers=["CPUExecutionProvider"])
        outputs = np.concatenate([session.run(None, {"input": row[None]})[0] for row in seen])
    except Exception as error:
        print(f"run: {type(error).__name__}: {error}")
        write(target / ANSWERS, {"runs": type(error).__name__})
        return
    with np.load(source / "wrapper.npz") as stored:
        wrapper = compared(stored["output"], outputs, settings)
    with np.load(Path(settings["observations"]) / "reference.npz") as stored:
        action = compared(stored["action"], outputs[1:], settings)
    write(target / ANSWERS, {"runs": "yes", "wrapper": wrapper, "action": action})


def compared(wanted: np.ndarray, found: np.ndarray, tolerance: dict[str, Any]) -> dict[str, Any]:
    """Whether all are the same, and the figure for it: equal decisions of how many, or the largest difference."""
    import numpy as np

    if wanted.shape != found.shape:
        return {"same": False, "figure": f"{list(found.shape[1:])} for {list(wanted.shape[1:])}"}
    if wanted.dtype.kind in "iub":
        equal = (wanted == found).reshape(len(wanted), -1).all(axis=1)
        return {"same": bool(equal.all()), "figure": f"{int(equal.sum())}/{len(wanted)}"}
    apart = np.abs(wanted.astype(np.float64) - found)
    within = apart <= tolerance["absolute"] + tolerance["relative"] * np.abs(wanted)  # False for NaN
    return {"same": bool(within.all()), "figure": f"{apart.max():.0e}"}


def write(path: Path, content: dict[str, Any]) -> None:
    """A finding, as JSON."""
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
