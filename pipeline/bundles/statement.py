"""The provenance: an in-toto Statement v1 with SLSA's provenance v1 as its predicate.

What came out are its subjects, what went in the resolved dependencies, and by which steps the internal parameters: each
step's inputs, settings, toolchain and code by their digests, as the manifests beside the artifacts have them. It is
SLSA-style: nobody but the key that signs the bundle vouches for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

FILE = "provenance.json"
TYPE = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD = "urn:slipway:bundle:1"
BUILDER = "urn:slipway:doit"


def text(facts: Mapping[str, Any], files: Mapping[str, str]) -> str:
    """The statement as JSON.

    :param facts: see :mod:`pipeline.bundles.packing`
    :param files: sha256 by name of every other file of the bundle
    """
    stated = {
        "_type": TYPE,
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in sorted(files.items())],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD,
                "externalParameters": {"agent": facts["agent"], "config": facts["config"]},
                "internalParameters": {
                    "steps": facts["steps"],
                    "kinds": facts["kinds"],
                    "left_out": facts["left_out"],
                },
                "resolvedDependencies": [_dependency(entry) for entry in facts["dependencies"]],
            },
            "runDetails": {"builder": {"id": BUILDER, "version": facts["versions"]}},
        },
    }
    return json.dumps(stated, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def _dependency(entry: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {"name": entry["name"], "digest": {"sha256": entry["sha256"]}}
    return {**found, "uri": entry["uri"]} if entry.get("uri") else found


def dependencies(stated: Mapping[str, Any]) -> dict[str, str]:
    """sha256 by name of what a statement says went in."""
    listed = stated["predicate"]["buildDefinition"]["resolvedDependencies"]
    return {entry["name"]: entry["digest"]["sha256"] for entry in listed}


def steps(stated: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The steps of a statement by name."""
    return {step["name"]: step for step in stated["predicate"]["buildDefinition"]["internalParameters"]["steps"]}
