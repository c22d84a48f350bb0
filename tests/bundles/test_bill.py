"""The bill of materials: of every toolchain, valid, and with a licence wherever a package tells one."""

from __future__ import annotations

import json
from email.message import Message

import pytest

from pipeline import toolchains
from pipeline.bundles import archive, bill, licences, locks

NAMES = ("host", "torch", "tensorflow", "device", "node", "libtorch", "bundles")


@pytest.fixture(scope="module")
def text() -> str:
    return bill.text("tiny", "MIT", NAMES, archive.EPOCH)


def test_bill_holds_to_the_schema_of_cyclonedx(text: str) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def test_bill_is_the_same_each_time_and_has_no_time_of_its_own(text: str) -> None:
    assert text == bill.text("tiny", "MIT", reversed(NAMES), archive.EPOCH)
    told = json.loads(text)
    assert told["metadata"]["timestamp"] == "1980-01-01T00:00:00+00:00"
    assert told["serialNumber"] != json.loads(bill.text("other", "MIT", NAMES, archive.EPOCH))["serialNumber"]


def test_bill_lists_what_every_lock_pins(text: str) -> None:
    told = json.loads(text)
    held = {component.get("purl") for component in told["components"]}
    for name in NAMES:
        assert len(locks.packages(name)) > 5 or name == "bundles"
        for package in locks.packages(name):
            assert any(purl and purl.endswith(f"{package.name.rpartition('/')[2]}@{package.version}") for purl in held)
    depends = {entry["ref"]: entry.get("dependsOn", []) for entry in told["dependencies"]}
    assert depends["agent:tiny"] == sorted(f"toolchain:{name}" for name in NAMES)
    assert "pkg:pypi/torch@2.13.0" in depends["toolchain:torch"]
    assert any(needed.startswith("pkg:pypi/flatbuffers") for needed in depends["pkg:pypi/ai-edge-litert@2.3.0"])


def test_bill_tells_licences_and_npms_hashes(text: str) -> None:
    held = {component.get("purl"): component for component in json.loads(text)["components"]}
    assert held["pkg:pypi/msgspec@0.22.0"]["licenses"] == [{"license": {"id": "BSD-3-Clause"}}]
    tfjs = held["pkg:npm/%40tensorflow/tfjs@4.22.0"]
    assert tfjs["licenses"] == [{"license": {"id": "Apache-2.0"}}] and tfjs["hashes"][0]["alg"] == "SHA-512"


def test_licences_are_those_of_what_is_installed() -> None:
    """If not: .toolchains/host/bin/python -m pipeline.bundles.licences."""
    assert not set(licences.installed().items()) - set(licences.known().items())


def test_licences_are_of_packages_that_are_in_a_lock() -> None:
    pinned = {f"{one.name}=={one.version}" for name in ("host", *toolchains.TOOLCHAINS) for one in locks.packages(name)}
    assert set(licences.known()) <= pinned


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"License-Expression": "MIT OR Apache-2.0", "License": "other"}, "MIT OR Apache-2.0"),
        ({"License": "Apache 2.0"}, "Apache-2.0"),
        ({"License": "Copyright (c) 2005"}, ""),
        ({"License": "a text\nof several lines", "Classifier": "License :: OSI Approved :: MIT License"}, "MIT"),
        ({"Classifier": "License :: OSI Approved :: BSD License"}, "BSD License"),
        ({}, ""),
    ],
)  # fmt: skip
def test_licence_is_what_the_metadata_tells(fields: dict[str, str], wanted: str) -> None:
    metadata = Message()
    for name, value in fields.items():
        metadata[name] = value
    assert licences.stated(metadata) == wanted


def test_lock_is_read_with_markers_and_what_needs_what() -> None:
    text = (
        "# uv pip compile\nnumpy==2.4.6 ; python_full_version < '3.12' \\\n    --hash=sha256:00\n"
        "    # via\n    #   -r host.in\n    #   pandas\nsix==1.17.0 \\\n    --hash=sha256:00\n    # via numpy\n"
    )
    first, second = locks.of_python(text)
    assert (first.name, first.version, first.marker, first.via) == (
        "numpy",
        "2.4.6",
        "python_full_version < '3.12'",
        ("pandas",),
    )
    assert second.via == ("numpy",)
