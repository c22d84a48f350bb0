"""Digests of the code that a step runs: its module and everything of ours that this one uses, and the user's."""

from __future__ import annotations

import functools
import hashlib
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

_IMPORT = re.compile(r"^\s*from (pipeline[\w.]*) import (\([^)]*\)|[\w, ]+)", re.MULTILINE)
_FILE = re.compile(r"""["'/](\w+\.(?:mjs|py))["']""")


@functools.cache
def code(*modules: str) -> str:
    """sha256 over modules of ``pipeline`` and, in turn, the modules they import and the scripts they name."""
    found: dict[str, bytes] = {}
    waiting = [path for module in modules if (path := _path(module))]
    while waiting:
        path = waiting.pop()
        name = path.relative_to(ROOT).as_posix()
        if name in found:
            continue
        found[name], used = _read(path)
        waiting += used
    digest = hashlib.sha256()
    for name in sorted(found):
        digest.update(f"{name}\0".encode() + found[name] + b"\0")
    return digest.hexdigest()


@functools.cache
def everything() -> str:
    """sha256 over all of Slipway's own code: machines on which it differs do not make the same bytes."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "pipeline").rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(ROOT).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def sources(folder: Path) -> str:
    """sha256 over the Python files of a user's folder, at any depth but for hidden folders."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder)
        if not any(part.startswith(".") for part in name.parts):
            digest.update(f"{name.as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _path(module: str) -> Path | None:
    base = ROOT.joinpath(*module.split("."))
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


@functools.cache
def _read(path: Path) -> tuple[bytes, tuple[Path, ...]]:
    """What is in a module, and what it uses: most are met from many others."""
    content = path.read_bytes()
    return content, tuple(_used(path, content.decode("utf-8")))


def _used(path: Path, text: str) -> list[Path]:
    used = []
    for module, names in _IMPORT.findall(text):
        for name in re.findall(r"\w+", names):
            inner = _path(f"{module}.{name}")
            used.append(inner or _path(module))
    used += [beside for name in _FILE.findall(text) if (beside := path.with_name(name)).is_file()]
    return [found for found in used if found]
