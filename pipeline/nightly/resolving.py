"""The newest versions that registries offer, in a copy of the clone: one toolchain's lock is made anew, no other.

What a ``.in`` file pins by ``==`` is loosened; what it holds back by ``<`` or ``!=`` stays held back, as that is there
for a reason. ``uv`` and ``npm`` decide what fits together.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from pathlib import Path

from pipeline import toolchains
from pipeline.nightly.record import pinned
from pipeline.toolchains import making

COPIED = ("doit", "dodo.py", "pipeline", "requirements")
FILES = {
    "host": ("host",),
    "torch": ("torch",),
    "tensorflow": ("tensorflow",),
    "device": ("device",),
    "node": ("nodejs", "node"),
    "pictures": ("pictures",),
    "hub": ("hub",),
}

_PIN = re.compile(r"^([A-Za-z0-9._-]+)(\[[^\]]*\])?==(\S+)", re.MULTILINE)


def copy(clone: Path, target: Path) -> None:
    """What ./doit needs of a clone, with nothing that was made in it."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in COPIED:
        source = clone / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target / name)


def direct(clone: Path, toolchain: str) -> dict[str, str]:
    """Version by package that is pinned by hand, and so can be loosened."""
    found: dict[str, str] = {}
    for name in FILES[toolchain]:
        if name == "node":
            told = json.loads((clone / "requirements/node/package.json").read_text(encoding="utf-8"))
            found |= told["dependencies"]
        else:
            found |= pinned(f"{name}.in", (clone / f"requirements/{name}.in").read_text(encoding="utf-8"))
    return found


def resolve(clone: Path, toolchain: str, package: str, log: Path) -> None:
    """Make a toolchain's lock anew, in place.

    :param package: the only one that is loosened; "" loosens all
    :raises errors.ToolchainBroken: no versions fit together, or the registry does not answer
    """
    for name in FILES[toolchain]:
        folder = clone / "requirements"
        if name == "node":
            _node(folder / "node", package, log)
        elif not package or package in pinned(f"{name}.in", (folder / f"{name}.in").read_text(encoding="utf-8")):
            _python(folder, name, package, log)


def loosened(text: str, package: str = "") -> str:
    """The lines of a ``.in`` without their ``==``: of one package, or of all."""

    def loose(found: re.Match[str]) -> str:
        name, extras, _ = found.groups()
        return found.group() if package not in ("", _plain(name)) else name + (extras or "")

    return _PIN.sub(loose, text)


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")


def _python(folder: Path, name: str, package: str, log: Path) -> None:
    """First what fits together; then, with that pinned, the lock by its own command."""
    source, lock, resolved = folder / f"{name}.in", folder / f"{name}.txt", folder / f"{name}.resolved.txt"
    written = lock.read_text(encoding="utf-8")
    command = shlex.split(written.splitlines()[1].strip("# "))[1:]  # after "uv"
    source.write_text(loosened(source.read_text(encoding="utf-8"), package), encoding="utf-8")
    if package:  # what need not move stays: uv prefers what stands in the file that it writes
        resolved.write_text(re.sub(r" \\\n *--hash=\S+", "", written), encoding="utf-8")
    call = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--python-version", making.PYTHON]
    call += ["--upgrade-package", package] if package else []
    making.call([*call, source.name, "-o", resolved.name], log, folder, f"resolving {name}")
    text = resolved.read_text(encoding="utf-8")
    versions = pinned(lock.name, text)

    def pin(found: re.Match[str]) -> str:
        asked, extras = found.groups()
        version = versions.get(_plain(asked))
        return found.group() if version is None else f"{asked}{extras or ''}=={version}"

    loose = re.compile(r"^([A-Za-z0-9._-]+)(\[[^\]]*\])?$", re.MULTILINE)
    source.write_text(loose.sub(pin, source.read_text(encoding="utf-8")), encoding="utf-8")
    lock.write_text(text, encoding="utf-8")
    making.call([sys.executable, "-m", "uv", *command, "--quiet"], log, folder, f"locking {name}")


def _node(folder: Path, package: str, log: Path) -> None:
    asked = json.loads((folder / "package.json").read_text(encoding="utf-8"))["dependencies"]
    names = [name for name in asked if package in ("", name)]
    if not names:
        return
    options = ["--package-lock-only", "--save-exact", "--ignore-scripts", "--no-audit", "--no-fund"]
    npm = making.npm(toolchains.folder("node"))
    making.call([*npm, "install", *options, *(f"{name}@latest" for name in names)], log, folder, "resolving node")
