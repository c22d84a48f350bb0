"""What an inspection found, as text for a terminal."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.agents import inspection
from pipeline.agents.inspection import READABLE, Facts

LABEL = 28
SHOWN = 4  # bounds of a space, before they are abbreviated
MACHINE = ("OS", "GPU Enabled")
MARK = "✗"


def show(files: list[Path], as_json: bool) -> bool:
    """Print what each file is. Whether Slipway can read them all."""
    found = [inspection.inspect(file) for file in files]
    width = min(shutil.get_terminal_size((120, 24)).columns, 160)
    for number, facts in enumerate(found):
        if as_json:
            print(json.dumps(facts, ensure_ascii=False, allow_nan=False))
        else:
            print(("\n" if number else "") + text(facts, width))
    return not any(facts["refusal"] for facts in found)


def text(facts: Facts, width: int) -> str:
    """The whole listing; its last line is the verdict."""
    rows = [*_head(facts), *_agent(facts), *_network(facts), *_files(facts), *_pickles(facts), *_normalizer(facts)]
    lines = [line for label, value in rows for line in _row(label, value, width)]
    good = facts["verdict"] == READABLE
    return "\n".join([*lines, "", f"{'✓' if good else MARK} {facts['verdict']}"])


def _row(label: str, value: str, width: int) -> list[str]:
    """A label in its column and the value beside it, wrapped; a label alone heads what follows."""
    if not value:
        return ["", label] if label else [""]
    held = textwrap.wrap(value, max(width - LABEL - 1, 30), break_long_words=False, break_on_hyphens=False)
    start = f"{label:{LABEL}}" if len(label) < LABEL else f"{label}\n{'':{LABEL}}"
    return [start + (held[0] if held else ""), *(" " * LABEL + line for line in held[1:])]


def _head(facts: Facts) -> Iterator[tuple[str, str]]:
    size = f", {facts['bytes']:,} bytes, sha256 {facts['sha256'][:16]}…" if "bytes" in facts else ""
    yield "file", f"{facts['file']}{size}"


def _agent(facts: Facts) -> Iterator[tuple[str, str]]:
    if not facts.get("members"):
        return
    for label, key in (("algorithm", "algorithm"), ("policy", "policy_class")):
        yield label, facts[key] or "not known"
    versions = [f"{name} {value}" for name, value in facts["versions"].items() if name not in MACHINE]
    yield "saved by", ", ".join(versions) or "an unknown version of Stable-Baselines3"
    for label, key in (("observations", "observation_space"), ("actions", "action_space")):
        yield from space(label, facts[key])
    if facts["policy_kwargs"]:
        kwargs = facts["policy_kwargs"]
        pairs = kwargs.items() if isinstance(kwargs, dict) else [("", kwargs)]
        yield "policy_kwargs", ", ".join(f"{key} = {value}" for key, value in pairs)
    if facts["training"]:
        yield "training", ", ".join(f"{name} {value}" for name, value in facts["training"].items())


def space(label: str, held: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    """A label and a space in a few words; of a Dict also its keys and their spaces."""
    yield label, _described(held)
    if held and held["type"] == "Dict":
        for key, part in held["spaces"].items():
            yield f"  {key}", _described(part)


def _described(space: dict[str, Any] | None) -> str:
    if space is None:
        return "not known"
    kind = space["type"]
    if kind == "Box":
        shape = ", ".join(map(str, space["shape"]))
        image = " (an image: channels, height, width)" if space["image"] else ""
        return f"Box({shape}) {space['dtype']}, from {_bounds(space['low'])} to {_bounds(space['high'])}{image}"
    if kind == "Discrete":
        return f"Discrete({space['n']})" + (f", starting at {space['start']}" if space["start"] else "")
    if kind == "Dict":
        return f"Dict of {', '.join(space['spaces'])}"
    return f"{kind}({', '.join(map(str, space.get('nvec') or space['n']))})"


def _bounds(values: Any) -> str:
    """One number where all are the same, and else the first few."""
    if not isinstance(values, list):
        return _number(values)
    shown = ", ".join(_number(value) for value in values[:SHOWN])
    return f"[{shown}{', …' if len(values) > SHOWN else ''}]"


def _number(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def _network(facts: Facts) -> Iterator[tuple[str, str]]:
    """Tensors by the part of the network that they belong to."""
    held = facts.get("tensors")
    if not held:
        return
    dtypes = {tensor["dtype"] for tensor in held.values()}
    yield "", ""
    yield "network", f"{facts['parameters']:,} parameters in {len(held)} tensors, {', '.join(sorted(dtypes))}"
    groups: dict[str, list[str]] = {}
    for name, tensor in held.items():
        parts = name.split(".")
        cut = next((i for i, part in enumerate(parts) if part.isdigit()), max(len(parts) - 1, 1))
        size = "×".join(map(str, tensor["shape"])) or "1"
        kind = f" {tensor['dtype']}" if len(dtypes) > 1 else ""
        groups.setdefault(".".join(parts[:cut]), []).append(f"{'.'.join(parts[cut:])} {size}{kind}")
    for group, named in groups.items():
        yield f"  {group}", ", ".join(named).lstrip()


def _files(facts: Facts) -> Iterator[tuple[str, str]]:
    if facts.get("members"):
        yield "", ""
        yield "members", ", ".join(f"{name} {size:,}" for name, size in facts["members"].items())


def _pickles(facts: Facts) -> Iterator[tuple[str, str]]:
    held = facts.get("references", {})
    known = f"and what they refer to ({MARK} is not on the allowed list)"
    for is_read, title in (
        (True, f"pickles that are read, {known}"),
        (False, f"pickles that no build reads, {known}"),
    ):
        rows = [(f"  {place.removeprefix('data: ')}", _refers(scan))
                for place, scan in held.items() if scan["read"] == is_read]  # fmt: skip
        if rows:
            yield title, ""
            yield from rows


def _refers(scan: Facts) -> str:
    names = [f"{name} {MARK}" if name in scan["not_allowed"] else name for name in scan["refers_to"]]
    ended = [f"({scan['ended']})"] if scan["ended"] else []
    return ", ".join(names + ended) or "nothing"


def _normalizer(facts: Facts) -> Iterator[tuple[str, str]]:
    held = facts.get("vecnormalize")
    if held:
        yield "", ""
        yield "vecnormalize", held["file"]
        for name in ("clip_obs", "epsilon", "norm_obs", "norm_reward", "norm_obs_keys"):
            if held.get(name) is not None:
                yield f"  {name}", str(held[name])
        for key, shape in held.get("shapes", {}).items():
            yield f"  obs_rms {key}".rstrip(), f"mean and variance of shape {tuple(shape)}"
        yield "  refers to", _refers(held["references"])
    elif facts.get("was_normalized"):
        yield "", ""
        yield "vecnormalize", "not beside the archive, which was trained with it: its last observations are normalized"
