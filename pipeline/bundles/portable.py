"""The config of a bundle: what a config says, with no path of the machine that it was written on.

It names files as they lie beside it once someone has put them there, and leaves out the user's own interpreter.
Comments and the order of keys are not kept, so that two configs which say the same are the same bytes.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.spec import Agent

FILE = "config.toml"
ZIP, STATISTICS = "agent.zip", "vecnormalize.pkl"
DERIVED = ("name", "config", "python")
# What a stranger's config could run code with: environments, loaders and programs of his choice.
RUNS = ("trust", "import_allowed", "import_from", "python", "edgetpu", "environment.imports", "environment.wrappers",
        "environment.kwargs")  # fmt: skip

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def text(agent: Agent) -> str:
    """The config as TOML: everything that is not as it is by default."""
    return dump(table(agent))


def table(agent: Agent) -> dict[str, Any]:
    """What the config says, as TOML has it."""
    found = {name: value for name, value in _stated(agent).items() if name not in DERIVED}
    if agent.zip:
        found["zip"] = ZIP
        found["vecnormalize"] = "none" if agent.vecnormalize == "none" else STATISTICS
    for name in ("observations", "calibration"):
        if found.get(name, {}).get("file"):
            found[name] = {**found[name], "file": f"{name}.npz"}
    if agent.import_from:
        found["import_from"] = [f"import_from_{number}" for number in range(len(agent.import_from))]
    return found


def _stated(value: Any) -> dict[str, Any]:
    """The fields of a dataclass that differ from their defaults."""
    found = {}
    for field in dataclasses.fields(value):
        held = getattr(value, field.name)
        default = field.default_factory() if callable(field.default_factory) else field.default
        if held != default:
            found[field.name] = _stated(held) if dataclasses.is_dataclass(held) else held
    return found


def located(stated: Mapping[str, Any], files: Mapping[str, Any]) -> dict[str, Any]:
    """A bundle's config with paths of this machine: by ``zip``, ``vecnormalize``, ``observations`` and so on."""
    found = {name: value for name, value in stated.items() if name not in ("zip", "vecnormalize", "hub")}
    for name in ("zip", "vecnormalize", "import_from"):
        if files.get(name):
            found[name] = files[name]
    for name in ("observations", "calibration"):
        if files.get(name):
            found[name] = {**found.get(name, {}), "file": files[name]}
    return found


def running(stated: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a config that could run code, with their values."""
    found = {}
    for path in RUNS:
        head, _, key = path.partition(".")
        held = stated.get(head, {})
        value = held.get(key) if key and isinstance(held, Mapping) else held if not key else None
        if value:
            found[path] = value
    environment = stated.get("environment", {})
    if isinstance(environment, Mapping) and ":" in str(environment.get("id", "")):
        found["environment.id"] = environment["id"]  # gymnasium imports the module before the colon
    return found


def dump(stated: Mapping[str, Any]) -> str:
    """A table as TOML: values first, then the tables in it."""
    return "\n".join(_lines(stated, ())).strip() + "\n"


def _lines(stated: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    tables = {name: value for name, value in stated.items() if isinstance(value, Mapping)}
    if path and (len(tables) < len(stated) or not stated):
        yield ""
        yield f"[{'.'.join(path)}]"
    for name in sorted(set(stated) - set(tables)):
        yield f"{_key(name)} = {_value(stated[name])}"
    for name in sorted(tables):
        yield from _lines(tables[name], (*path, _key(name)))


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _quoted(name)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | Path):
        return _quoted(str(value))
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(name)} = {_value(value[name])}" for name in sorted(value)) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return repr(value) if isinstance(value, int | float) else value.isoformat()  # a date or a time


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
