"""The bill of materials: CycloneDX 1.6 of every toolchain that took part, by OWASP's own library.

Each toolchain is a component that depends on all that its lock pins; a package that is in several is listed once. The
hashes of Python's packages are in the locks, which the bundle holds too: one package has many files.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pipeline import toolchains
from pipeline.bundles import licences, locks
from pipeline.bundles.locks import Package

if TYPE_CHECKING:
    from cyclonedx.model.component import Component

FILE = "bom.cdx.json"
SPACE = uuid.UUID("6f5b0b8e-6d0c-5d5e-9d6c-3f1f8f0c7a11")  # for the serial number, which is made of the content


def text(agent: str, licence: str, names: Iterable[str], epoch: int) -> str:
    """The bill as JSON.

    :param licence: of the agent, as the config tells it, or ""
    :param names: of the toolchains
    :param epoch: its time, in seconds since 1970
    """
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6

    known = licences.known()
    root = Component(
        name=agent, type=ComponentType.MACHINE_LEARNING_MODEL, bom_ref=f"agent:{agent}", licenses=_licences(licence)
    )
    bom = Bom(serial_number=uuid.UUID(int=0))
    bom.metadata.timestamp = datetime.fromtimestamp(epoch, UTC)
    bom.metadata.component = root
    held: dict[Package, Component] = {}
    tops = []
    for name in sorted(names):
        pinned = [_unlinked(package) for package in locks.packages(name)]
        for package in pinned:
            if package not in held:
                held[package] = _component(package, known)
                bom.components.add(held[package])
        tops.append(_toolchain(name))
        bom.components.add(tops[-1])
        bom.register_dependency(tops[-1], [held[package] for package in pinned])
        for package in locks.packages(name):
            users = [held[one] for one in pinned if _key(one.name) in map(_key, package.via)]
            for user in users:
                bom.register_dependency(user, [held[_unlinked(package)]])
    bom.register_dependency(root, tops)
    bom.serial_number = uuid.uuid5(SPACE, JsonV1Dot6(bom).output_as_string(indent=1))
    return JsonV1Dot6(bom).output_as_string(indent=1) + "\n"


def _unlinked(package: Package) -> Package:
    """Without what differs by lock."""
    return Package(package.registry, package.name, package.version, (), "", package.licence, package.sha512)


def _key(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def _component(package: Package, known: dict[str, str]) -> Component:
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    scope, _, name = package.name.rpartition("/")
    url = PackageURL(package.registry, scope or None, name, package.version)
    licence = package.licence or known.get(f"{package.name}=={package.version}", licences.NONE)
    hashes = [HashType(alg=HashAlgorithm.SHA_512, content=package.sha512)] if package.sha512 else []
    return Component(
        name=name,
        group=scope or None,
        version=package.version,
        type=ComponentType.LIBRARY,
        purl=url,
        bom_ref=url.to_string(),
        licenses=_licences(licence),
        hashes=hashes,
    )


def _toolchain(name: str) -> Component:
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentType

    pins = [Property(name="slipway:lock", value=f"locks/{file.removeprefix('requirements/')} sha256:{_digest(file)}")
            for file in locks.files(name)]  # fmt: skip
    said = toolchains.TOOLCHAINS[name].says if name != locks.HOST else "what runs Slipway and makes the others"
    return Component(
        name=name, type=ComponentType.PLATFORM, bom_ref=f"toolchain:{name}", description=said, properties=pins
    )


def _digest(file: str) -> str:
    return hashlib.sha256((toolchains.ROOT / file).read_bytes()).hexdigest()


def _licences(stated: str) -> Any:
    from cyclonedx.contrib.license.factories import LicenseFactory

    return [LicenseFactory().make_from_string(stated)] if stated else []
