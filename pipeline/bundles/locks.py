"""What the locks in ``requirements/`` pin."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import toolchains

_PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]*)==([^\s;\\]+)(?:\s*;\s*([^\\]+))?")
_VIA = re.compile(r"#\s+(?:via\s+)?(\S+)$")
HOST = "host"


@dataclass(frozen=True)
class Package:
    """One line of a lock.

    :param registry: "pypi" or "npm", as package URLs have it
    :param via: names of the packages that need it
    :param marker: where it is for some machines only
    :param licence: as the lock tells it; locks of Python packages do not
    :param sha512: of the package, as the lock tells it, in hexadecimal
    """

    registry: str
    name: str
    version: str
    via: tuple[str, ...] = ()
    marker: str = ""
    licence: str = ""
    sha512: str = ""


def files(toolchain: str) -> tuple[str, ...]:
    """The files that pin a toolchain, relative to the clone, and what they were made from."""
    if toolchain == HOST:  # which makes the others, and so is not among them
        return ("requirements/host.in", "requirements/host.txt")
    listed = [name for name in toolchains.TOOLCHAINS[toolchain].locks if name.startswith("requirements/")]
    written = [str(Path(name).with_suffix(".in")) for name in listed if name.endswith(".txt")]
    beside = [str(Path(name).with_name("package.json")) for name in listed if name.endswith(".json")]
    return tuple(sorted({*listed, *written, *beside}))


def packages(toolchain: str) -> list[Package]:
    """What a toolchain's files pin, in the order of their names."""
    found: list[Package] = []
    for name in files(toolchain):
        text = (toolchains.ROOT / name).read_text(encoding="utf-8")
        if name.endswith(".txt"):
            found += of_python(text)
        elif name.endswith("torch.in"):  # the one pin without a hash, which is not in the lock
            found += [package for package in of_python(text) if package.name == "torch"]
        elif name.endswith("package-lock.json"):
            found += of_node(json.loads(text))
    return sorted(found, key=lambda package: (package.registry, package.name, package.version))


def of_python(text: str) -> list[Package]:
    """The pins of a lock that uv wrote."""
    found: list[Package] = []
    for line in text.splitlines():
        if pin := _PIN.match(line):
            found.append(Package("pypi", pin[1], pin[2], marker=(pin[3] or "").strip()))
        elif found and (via := _VIA.search(line)) and via[1] not in ("via", "-r") and not via[1].endswith(".in"):
            last = found[-1]
            found[-1] = Package(last.registry, last.name, last.version, (*last.via, via[1]), last.marker)
    return found


def of_node(lock: dict[str, Any]) -> list[Package]:
    """The packages of npm's lock, version 3."""
    entries = {path.rpartition("node_modules/")[2]: entry for path, entry in lock["packages"].items() if path}
    via: dict[str, list[str]] = {name: [] for name in entries}
    for name, entry in sorted(entries.items()):
        for needed in entry.get("dependencies", {}):
            via.setdefault(needed, []).append(name)
    found = []
    for name, entry in entries.items():
        algorithm, _, digest = entry.get("integrity", "").partition("-")
        sha512 = base64.b64decode(digest).hex() if algorithm == "sha512" else ""
        told = str(entry.get("license", ""))
        found.append(Package("npm", name, entry["version"], tuple(via[name]), licence=told, sha512=sha512))
    return found
