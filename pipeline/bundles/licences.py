"""The licences of the packages in the locks, from the metadata of what is installed.

They are kept in ``requirements/licences.json``, so that a bill of materials is the same on a machine that has not made
every toolchain. With changed locks, after ``./doit toolchains``:

    .toolchains/host/bin/python -m pipeline.bundles.licences
"""

from __future__ import annotations

import importlib.metadata
import json
import re
from collections.abc import Iterator
from pathlib import Path

from pipeline import toolchains
from pipeline.bundles import locks

FILE = toolchains.REQUIREMENTS / "licences.json"
SHORT = 60  # characters of a name of a licence; what is longer is its text
NONE = ""  # where the package does not tell

_CLASSIFIER = "License :: "
_SPDX = {
    "Apache Software License": "Apache-2.0",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License v2.0": "Apache-2.0",
    "BSD 3-Clause": "BSD-3-Clause",
    "BSD 3-Clause License": "BSD-3-Clause",
    "PSFL": "PSF-2.0",
    "zlib": "Zlib",
}  # fmt: skip


def known() -> dict[str, str]:
    """Licence by ``name==version``: an SPDX expression, or the name that the package gives it."""
    found: dict[str, str] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def installed() -> dict[str, str]:
    """The same of what is installed in the toolchains that have been made, as far as it is what their locks say."""
    found = {}
    for name in sorted({locks.HOST, *toolchains.TOOLCHAINS}):
        place = toolchains.home() / locks.HOST if name == locks.HOST else toolchains.folder(name)
        there = {}
        for site in place.glob("lib/python*/site-packages"):
            there = {_normal(one.metadata["Name"]): one for one in importlib.metadata.distributions(path=[str(site)])}
        for package in locks.packages(name):
            held = there.get(_normal(package.name)) if package.registry == "pypi" else None
            if held is not None and held.version.partition("+")[0] == package.version:
                found[f"{package.name}=={package.version}"] = stated(held.metadata)
    return dict(sorted(found.items()))


def stated(metadata: importlib.metadata.PackageMetadata) -> str:
    """What a package's metadata says of its licence: its expression, else its short name, else its classifiers."""
    for expression in metadata.get_all("License-Expression") or []:
        return str(expression)
    told = "\n".join(metadata.get_all("License") or [])
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    if len(lines) == 1 and len(lines[0]) <= SHORT and not lines[0].startswith("Copyright"):
        return _SPDX.get(lines[0], lines[0])
    return " OR ".join(dict.fromkeys(_classified(metadata)))


def _classified(metadata: importlib.metadata.PackageMetadata) -> Iterator[str]:
    for classifier in metadata.get_all("Classifier") or []:
        if classifier.startswith(_CLASSIFIER):
            name = classifier.rpartition(" :: ")[2]
            yield _SPDX.get(name, name)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def write(path: Path = FILE) -> None:
    """Write down what is known of the packages that are in a lock now."""
    pinned = {f"{one.name}=={one.version}" for name in (locks.HOST, *toolchains.TOOLCHAINS)
              for one in locks.packages(name)}  # fmt: skip
    before = {name: licence for name, licence in known().items() if name in pinned} if path.is_file() else {}
    found = dict(sorted({**before, **installed()}.items()))
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
