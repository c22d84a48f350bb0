"""What an archive is, without running it, and without torch or Stable-Baselines3.

Everything is read with the pipeline's own readers, part by part: what one part is refused for does not hide the others.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import math
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline import errors, places, surroundings
from pipeline.agents import (
    archive,
    pickles,
    policies,
    records,
    references,
    spaces,
    statistics,
    tensors,
    zips,
)
from pipeline.agents.arguments import ON_POLICY
from pipeline.agents.pickles import Name, Record

READABLE = "Slipway can read this archive"
READ = ("observation_space", "action_space", "policy_class", "policy_kwargs")
_TRAINING = (
    *("num_timesteps", "_total_timesteps", "n_envs", "seed", "gamma", "learning_rate", "n_steps", "batch_size"),
    *("n_epochs", "gae_lambda", "ent_coef", "vf_coef", "max_grad_norm", "buffer_size", "learning_starts", "tau"),
    *("gradient_steps", "target_update_interval", "use_sde", "sde_sample_freq"),
)
_SALVAGED = 1 << 26  # most that is taken of one member where the zip as a whole is refused
_WIDTH = 24  # most entries of a mapping or list that are shown
_DEPTH = 3

Facts = dict[str, Any]


def inspect(path: Path) -> Facts:
    """What a file is, ready for JSON. It never fails: ``refusal`` says what is wrong, and is None where nothing is."""
    facts: Facts = {"file": str(path)}
    try:
        if not places.is_file(path):
            what = places.missing(path)
            raise errors.AgentFileMissing(what, remedy="Check the path; it is relative to where ./doit is called")
        content = archive.content(path)
    except errors.SlipwayError as error:
        return facts | _verdict(error)
    members, sizes = _members(content)
    data = _tried(archive.parsed, members.get("data", b"")) or {}
    facts |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    facts |= _described(path, data) | {"versions": _versions(members), "training": _training(data)}
    facts |= _network(members.get("policy.pth", b""))
    facts |= {"members": sizes, "references": _references(data, members)}
    pkl = surroundings.statistics(path)
    facts["vecnormalize"] = _normalizer(pkl) if pkl else None
    return facts | _verdict(_refusal(path, pkl))


def _verdict(error: errors.SlipwayError | None) -> Facts:
    return {"verdict": str(error) if error else READABLE, "refusal": error.to_json() if error else None}


def _refusal(path: Path, pkl: Path | None) -> errors.SlipwayError | None:
    """What the pipeline would say: first of the archive, then of its statistics."""
    try:
        opened, _ = archive.outline(path)
        policies.check_supported(opened)
        if pkl:
            statistics.read(pkl, opened.observation_space)
    except errors.SlipwayError as error:
        return error.at(file=path)
    return None


def _tried(read: Callable[..., Any], *given: Any) -> Any:
    """What a reader answers, or None where it refuses."""
    with contextlib.suppress(errors.SlipwayError, KeyError):
        return read(*given)
    return None


def _members(content: bytes) -> tuple[dict[str, bytes], dict[str, int]]:
    """Members, and the sizes of all that the directory lists; of a zip that is refused, what can be had of it."""
    found: dict[str, bytes] = {}
    try:
        found = zips.members(content, "", zips.MAX_MEMBERS)
        return found, {_named(name): len(held) for name, held in found.items()}
    except errors.SlipwayError:
        if content.count(b"PK\x01\x02") > zips.MAX_ENTRIES:
            return {}, {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as opened:
            infos = opened.infolist()[: zips.MAX_MEMBERS]
            for info in infos:
                if info.filename in archive.MEMBERS and info.file_size <= _SALVAGED:
                    with contextlib.suppress(Exception), opened.open(info) as file:  # any damage: one member less
                        found[info.filename] = file.read(info.file_size + 1)
            return found, {_named(info.filename): info.file_size for info in infos}
    except Exception:  # zipfile's own refusals have many types
        return {}, {}


def _named(name: str) -> str:
    """A name out of the file, fit for a line of a terminal."""
    return errors.printable(name)[:100]


def _described(path: Path, data: dict[str, Any]) -> Facts:
    policy = _tried(archive.field, data, "policy_class", pickles.ANY)
    kwargs = _tried(archive.field, data, "policy_kwargs", pickles.ANY)
    described = {key: _tried(records.space, _tried(archive.field, data, key)) for key in READ[:2]}
    held = {key: space and _brief(space) for key, space in described.items()}
    algorithm = _tried(archive.algorithm_of, path)
    return {
        "algorithm": algorithm,
        "policy_class": plain(policy) if policy is not None else None,
        **held,
        "policy_kwargs": plain(kwargs) if kwargs else {},
        "was_normalized": was_normalized(data, algorithm),
    }


def _brief(space: dict[str, Any]) -> Facts:
    """A space, with one number for bounds that are all the same."""
    if space["type"] == "Dict":
        return {**space, "spaces": {_named(key): _brief(part) for key, part in space["spaces"].items()}}
    if space["type"] != "Box":
        return space
    ends = {key: space[key][0] if len(set(space[key])) == 1 else space[key] for key in ("low", "high")}
    return {**space, **ends, "image": spaces.is_image(space)}


def was_normalized(data: dict[str, Any], algorithm: str | None) -> bool | None:
    """Whether VecNormalize changed the observations that the agent was trained on; None: it does not show.

    Where it did, SB3 keeps the last ones as they were beside the changed (``_last_obs``, ``_last_original_obs``);
    off-policy algorithms keep older ones there without it too, so of those nothing can be said.
    """
    import numpy as np

    last, original = (_tried(archive.field, data, name) for name in ("_last_obs", "_last_original_obs"))
    if algorithm not in (*ON_POLICY, "ARS") or last is None:
        return None
    if original is None:
        return False
    one = not isinstance(last, dict) or not isinstance(original, dict)
    pairs = [(last, original)] if one else [(last[key], original.get(key)) for key in last]
    arrays = [[_tried(records.array, part) for part in pair] for pair in pairs]
    known = [pair for pair in arrays if all(part is not None for part in pair)]
    return any(not np.array_equal(*pair) for pair in known) if known else None


def _versions(members: dict[str, bytes]) -> dict[str, str]:
    """Of the machine that saved it, by package, from ``system_info.txt`` and the member that holds SB3's."""
    found: dict[str, str] = {}
    for line in members.get("system_info.txt", b"")[:4096].decode("utf-8", "replace").splitlines():
        name, _, value = line.removeprefix("- ").partition(": ")
        if value and len(found) < _WIDTH:
            found[errors.printable(name)[:40]] = errors.printable(value.strip())[:100]
    own = members.get(archive.VERSION, b"")[:40].decode("ascii", "replace").strip()
    if own:
        found["Stable-Baselines3"] = errors.printable(own)
    return found


def _training(data: dict[str, Any]) -> Facts:
    held = {name.lstrip("_"): data.get(name) for name in _TRAINING}
    return {name: plain(value) for name, value in held.items() if isinstance(value, str | int | float | bool)}


def _network(pth: bytes) -> Facts:
    """Every tensor with its shape and dtype; one that has several names counts once."""
    found: dict[str, tensors.Tensor] = _tried(tensors.read, pth) or {}
    distinct = {(held.key, held.offset, held.shape): held.elements for held in found.values()}
    return {
        "tensors": {_named(name): {"shape": list(held.shape), "dtype": held.dtype} for name, held in found.items()},
        "parameters": sum(distinct.values()),
    }


def _references(data: dict[str, Any], members: dict[str, bytes]) -> dict[str, Facts]:
    """What each pickle refers to: of ``data`` by key, of other members by name."""
    found = {}
    for key, value in data.items():
        held = value.get(":serialized:") if isinstance(value, dict) else None
        if isinstance(held, str):
            with contextlib.suppress(ValueError):
                scan = references.of_pickle(base64.b64decode(held))
                found[f"data: {_named(key)}"] = _scanned(scan, key in READ, pickles.ALLOWED)
    for name, content in members.items():
        if name.endswith((".pth", ".pkl")):
            scan = references.of_tensors(content)
            found[_named(name)] = _scanned(scan, name == "policy.pth", pickles.TENSORS)
    return found


def _scanned(scan: references.Scan, is_read: bool, allowed: frozenset[tuple[str, str]]) -> Facts:
    return {
        "read": is_read,
        "refers_to": [references.dotted(name) for name in scan.names],
        "not_allowed": scan.refused(allowed),
        "ended": scan.ended,
    }


def _normalizer(pkl: Path) -> Facts:
    """VecNormalize's settings, and the shapes of its statistics by key (``""`` where there is no Dict)."""
    facts: Facts = {"file": str(pkl)}
    content: bytes = _tried(archive.content, pkl) or b""
    facts["references"] = _scanned(references.of_pickle(content), True, pickles.ALLOWED)
    record = _tried(pickles.read, content)
    state = record.state if isinstance(record, Record) else None
    if not isinstance(state, dict):
        return facts
    for name in ("clip_obs", "epsilon", "norm_obs", "norm_reward", "gamma"):
        held = _tried(records.array, state.get(name))
        if held is not None and held.shape == ():
            facts[name] = plain(held.item())
    facts["norm_obs_keys"] = plain(state.get("norm_obs_keys"))
    running = state.get("obs_rms")
    moments = running if isinstance(running, dict) else {"": running}
    facts["shapes"] = {}
    for key, held in moments.items():
        inner = held.state if isinstance(held, Record) else None
        mean = _tried(records.array, inner.get("mean")) if isinstance(inner, dict) else None
        if mean is not None:
            facts["shapes"][_named(str(key))] = list(mean.shape)
    return facts


def plain(value: Any, depth: int = 0) -> Any:
    """A value ready for JSON and for a terminal: names as text, objects as what they are made by, nests cut."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < 1 << 63 else f"{str(value)[:20]}…"
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return errors.printable(value[:200])
    if isinstance(value, Name):
        return references.dotted((value.module, value.name))
    if isinstance(value, Record):
        return _made(value)
    if depth == _DEPTH or not isinstance(value, dict | list | tuple):
        return "…" if isinstance(value, dict | list | tuple) else type(value).__name__
    if isinstance(value, dict):
        shown = list(value.items())[:_WIDTH]
        return {str(plain(key)): plain(held, depth + 1) for key, held in shown}
    return [plain(held, depth + 1) for held in value[:_WIDTH]] + ["…"] * (len(value) > _WIDTH)


def _made(record: Record) -> str:
    """A class or a function that the archive holds by value, or what an object is made by."""
    name = references.dotted((record.callee.module, record.callee.name))
    if record.callee.name == "_make_skeleton_class" and len(record.args) > 1 and isinstance(record.args[1], str):
        return f"the class {_named(record.args[1])}, by value"
    if re.search(r"_(make_function|fill_function|builtin_type)$", name):
        return "a function, by value"
    return f"an object of {name}"
