"""The job of the torch toolchain that opens an agent, and what others open it with."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import contract as contracts
from pipeline import errors
from pipeline.agents import archive, spaces, statistics
from pipeline.agents.reference import Reference

if TYPE_CHECKING:
    import numpy as np

    Inputs = dict[str, np.ndarray]

ZIP, PKL = "agent.zip", "vecnormalize.pkl"


def open_agent(folder: Path) -> Reference:
    """The agent of an ``sb3`` artifact."""
    pkl = folder / PKL
    opened = contracts.load(folder)["opened"]
    return _open(folder / ZIP, pkl if pkl.is_file() else None, opened)


def _open(zip_path: Path, pkl: Path | None, how: dict[str, Any]) -> Reference:
    """:param how: ``algorithm``, ``images``, ``trust`` and ``import_allowed`` of the config"""
    policy = None
    try:
        if how["trust"]:
            from pipeline.agents import trusted

            opened, policy = trusted.read(zip_path, how["algorithm"])
        else:
            opened = archive.read(zip_path, lenient=bool(how["import_allowed"]))
        moments = statistics.read(pkl, opened.observation_space) if pkl else None
        return Reference(opened, moments, how["images"], policy, tuple(how["import_allowed"]))
    except errors.UnknownAlgorithm:  # which the config names
        raise
    except errors.SlipwayError as error:
        raise error.at(file=zip_path) from None


def read(target: Path, settings: dict[str, Any]) -> None:
    """``sb3`` artifact: the archive, its statistics, and the contract that they imply.

    :param settings: ``agent``, ``zip``, ``vecnormalize`` (or "none"), ``outputs``, ``stochastic``, ``frame_stack``,
        and ``opened``: ``algorithm`` (or ""), ``images``, ``trust``, ``import_allowed``
    """
    from pipeline.agents import exported

    zip_path = Path(settings["zip"])
    pkl = None if settings["vecnormalize"] == "none" else Path(settings["vecnormalize"])
    reference = _open(zip_path, pkl, settings["opened"])
    opened, parts = reference.archive, reference.parts
    shutil.copyfile(zip_path, target / ZIP)
    if pkl:
        shutil.copyfile(pkl, target / PKL)
    wanted = settings["opened"]["algorithm"]
    if wanted and wanted.upper() != opened.algorithm.upper():
        raise errors.UnknownAlgorithm(
            "the config and the archive differ in their algorithm", expected=wanted, found=opened.algorithm
        )
    _check_frames(reference, settings["frame_stack"], pkl)
    extras = _extras(settings, reference)
    names = ["action", parts.decision, *extras, *(state["output"] for state in parts.states)]
    takes = _stacked(parts.inputs, reference, settings["frame_stack"])
    sample = reference.outputs(_zeros(takes), names)
    contract = {
        "slipway": contracts.VERSION,
        "agent": settings["agent"],
        "kind": "sb3",
        "part": "policy",
        "algorithm": opened.algorithm,
        "policy_class": opened.policy_class,
        "stable_baselines3": opened.version,
        "opened": settings["opened"],
        "warnings": [*_warnings(zip_path, pkl, settings["opened"]["trust"]), *_rounded(reference)],
        "images": reference.images,
        "source": {name: _sha256(target / name) for name in (ZIP, PKL) if (target / name).is_file()},
        "parameters": exported.parameters(parts),
        "observation_space": opened.observation_space,
        "action_space": opened.action_space,
        "takes": takes,
        "inputs": takes,
        "prologue": parts.prologue,
        "epilogue": parts.epilogue,
        "decision": parts.decision,
        "states": parts.states,
        "distribution": parts.distribution if settings["stochastic"] else {},
        "outputs": [
            {
                "name": name,
                "shape": ["batch", *values.shape[1:]],
                # predict answers in the action space's own float; the network, and so every artifact, in float32
                "dtype": "float32" if values.dtype.kind == "f" else str(values.dtype),
            }
            for name, values in sample.items()
        ],
    }
    contracts.dump(contract, target)


def _warnings(zip_path: Path, pkl: Path | None, trust: bool) -> list[str]:
    """What a user should know of the agent, though it can be built."""
    found = []
    if trust:
        found.append(f"{zip_path.name} was opened with SB3's own loader, which runs the code in its pickles")
    if pkl and zip_path.stem == "best_model" and "best" not in pkl.stem:
        # EvalCallback saves the best policy, but not the statistics of that moment.
        found.append(f"best_model.zip may be older than {pkl.name}: use statistics that were saved at its moment")
    return found


def _rounded(reference: Reference) -> list[str]:
    """What a user should know of observations of float64 whose deviations float32 does not resolve."""
    import numpy as np

    held, found = reference.statistics, []
    if held is None:
        return []
    parts = spaces.parts(reference.archive.observation_space)
    for key, moments in held.moments.items():
        away = float((np.abs(moments.mean) / np.sqrt(moments.variance + held.epsilon)).max())
        if parts[key]["dtype"] == "float64" and away * 2**-24 > 1e-5:
            where = f" under '{key}'" if key else ""
            found.append(
                f"observations{where} are float64 and lie up to {away:.0e} deviations from 0; rounded to float32, as "
                f"artifacts take them, they are off by up to {away * 2**-24:.0e} deviations"
            )
    return found


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _zeros(takes: list[dict[str, Any]]) -> Inputs:
    """Two rows of zeros for every input; every action is allowed."""
    import numpy as np

    return {e["name"]: np.full((2, *e["shape"][1:]), e["role"] == "mask", e["dtype"]) for e in takes}


def _check_frames(reference: Reference, declared: int, pkl: Path | None) -> None:
    """Statistics of one frame fit a stack of them only where the config says that there is one."""
    for key, moments in (reference.statistics.moments if reference.statistics else {}).items():
        if moments.frames not in (1, declared):
            size = moments.mean.shape[-1]
            raise errors.StatisticsUnfit(
                "the statistics are of another shape than the agent observes",
                file=pkl,
                expected=f"{size} numbers{f' under {key}' if key else ''}",
                found=size // moments.frames,
                remedy="Give the statistics saved with this agent, or, if it was trained with VecFrameStack, set "
                f"environment.frame_stack = {moments.frames} in the config",
            )


def _stacked(inputs: list[dict[str, Any]], reference: Reference, frames: int) -> list[dict[str, Any]]:
    """The entries of the inputs, each with the number of its frames, and what stands before the first one."""
    found = []
    for entry in inputs:
        if frames > 1 and entry["role"] == "observation":
            entry = {**entry, "frames": frames}
            moments = reference.statistics.moments.get(entry.get("key", "")) if reference.statistics else None
            if moments is not None and moments.frames > 1:
                one = moments.mean.shape[-1] // frames
                entry["padding"] = moments.mean[..., :one].ravel().tolist()
        found.append(entry)
    return found


def _extras(settings: dict[str, Any], reference: Reference) -> list[str]:
    """Names of the further outputs: those asked for, and those that a draw from the distribution needs."""
    parts, algorithm = reference.parts, reference.archive.algorithm
    wanted = set(settings["outputs"])
    for name in sorted(wanted):
        if name not in parts.extras and name != parts.decision:
            raise errors.ConfigWrongValue(
                f"outputs has '{name}', which this {algorithm} agent does not have",
                expected=", ".join([parts.decision, *parts.extras]),
            )
    if settings["stochastic"]:
        if not parts.distribution:
            raise errors.ConfigWrongValue(f"stochastic is set, but {algorithm} policies have no distribution")
        wanted |= {parts.distribution["log_std"]} & set(parts.extras) if "log_std" in parts.distribution else set()
    return sorted(wanted - {parts.decision})
