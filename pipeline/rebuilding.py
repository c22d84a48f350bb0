"""A bundle built anew from the agent that it says it was made of, and held to the first one.

Nothing of the bundle is run but its config, which names what to build; what could run code there is used only where
this clone's own config says the same.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import artifacts, config, fingerprint, processes, toolchains
from pipeline.bundles import packing, portable, refusals, statement
from pipeline.hops import KINDS
from pipeline.spec import Agent
from pipeline.steps import bundling, of_agent

SELF = ("README.md", packing.SUMS, statement.FILE, "bom.cdx.json", "report.md")  # follow from all others


@dataclass(frozen=True)
class Source:
    """Files of this machine that a bundle is made from; "" where there is none.

    :param zip: the agent's archive
    """

    zip: str = ""
    vecnormalize: str = ""
    observations: str = ""
    calibration: str = ""
    import_from: tuple[str, ...] = ()


def source_of(own: Agent | None, root: Path, opened: Path) -> Source:
    """What the bundle itself holds, else what this clone's config of that agent names.

    :param root: this clone's artifacts, where a recipe or the Hub has put an archive
    :param opened: the bundle's folder
    """
    held = opened / packing.SOURCE
    statistics = held / portable.STATISTICS
    within = Source(str(held / portable.ZIP), str(statistics) if statistics.is_file() else "")
    if own is None:
        return within if (held / portable.ZIP).is_file() else Source()
    files = Source(own.zip, "" if own.vecnormalize == "none" else own.vecnormalize, own.observations.file,
                   own.calibration.file, tuple(own.import_from))  # fmt: skip
    if not files.zip:
        made = root / own.name / (of_agent.HUB if own.hub.repo_id else of_agent.RECIPE)
        pkl = made / portable.STATISTICS
        zip_there = (made / portable.ZIP).is_file()
        found = (str(made / portable.ZIP) if zip_there else "", str(pkl) if pkl.is_file() else "")
        files = Source(*found, files.observations, files.calibration, files.import_from)
    return files if files.zip else Source(within.zip if Path(within.zip).is_file() else "", within.vecnormalize)


def differences(stated: Mapping[str, Any]) -> list[str]:
    """Locks and code of this clone that are not those that the bundle was built with."""
    found = []
    for name, digest in statement.dependencies(stated).items():
        if name.startswith(f"{packing.LOCKS}/"):
            path = toolchains.REQUIREMENTS / name.partition("/")[2]
            if not path.is_file() or artifacts.digest(path) != digest:
                found.append(f"{name} is another here")
        elif name == "pipeline" and digest != fingerprint.everything():
            found.append("Slipway's code is another here")
    return found


def check_source(stated: Mapping[str, Any], source: Source) -> None:
    """Hold the files at hand to the digests that the bundle was made from.

    :raises refusals.SourceUnfit: one is another, or is not there
    """
    given = {portable.ZIP: source.zip, portable.STATISTICS: source.vecnormalize,
             "observations.npz": source.observations, "calibration.npz": source.calibration}  # fmt: skip
    for name, digest in statement.dependencies(stated).items():
        if name not in given:
            continue
        if not given[name] or not Path(given[name]).is_file():
            raise refusals.SourceUnfit(f"{name} is not at hand", file=given[name], expected=f"sha256 {digest}")
        found = artifacts.digest(Path(given[name]))
        if found != digest:
            raise refusals.SourceUnfit(f"this is not the {name} that it was made from", file=given[name],
                                     expected=f"sha256 {digest}", found=found)  # fmt: skip


def check_config(told: Mapping[str, Any], own: Agent | None) -> None:
    """A stranger's config may not name code that this clone's own config does not.

    :raises refusals.SourceUnfit: it does
    """
    ours = portable.running(portable.table(own)) if own is not None else {}
    for name, value in portable.running(told).items():
        if ours.get(name) != value:
            raise refusals.SourceUnfit(
                f"its config sets {name}, which could run code, and no config of yours says the same",
                found=json.dumps(value, default=str)[:200],
                remedy="Read its config.toml; if you trust it, put it into configs/ and run this again",
            )


def rebuild(opened: Path, name: str, epoch: int, source: Source, scratch: Path) -> Path:
    """Build the bundle anew.

    :param opened: the bundle's folder
    :param scratch: an empty folder, for configs and artifacts
    :return: the new bundle
    :raises errors.SlipwayError: it could not be built
    """
    text = (opened / portable.FILE).read_text(encoding="utf-8")
    files = {field: value for field, value in vars(source).items() if value}
    located = portable.located(tomllib.loads(text), {**files, "vecnormalize": source.vecnormalize or "none"})
    configs, root = scratch / "configs", scratch / "artifacts"
    configs.mkdir()
    path = configs / f"{name}.toml"
    path.write_text(portable.dump(located), encoding="utf-8")
    agent = config.load(path, KINDS)
    call = [
        sys.executable,
        "-m",
        "pipeline",
        f"configs={configs}",
        f"artifacts={root}",
        f"memory={processes.MEMORY}",
        "cache=none",
        name,
    ]
    subprocess.run(call, cwd=toolchains.ROOT)  # what fails there is left out of the new bundle
    step = bundling.bundle(agent, root, config=text, epoch=epoch)
    step.act()
    return bundling.place(root, name)


def compared(first: Mapping[str, str], second: Mapping[str, str], stated: Mapping[str, Any],
             again: Mapping[str, Any]) -> list[str]:  # fmt: skip
    """Each file that differs between two bundles of an agent, and why.

    :param first: sha256 by name
    :param stated: the statement of the first
    """
    found = packing.same(first, second)
    made = [name for name in found if name not in SELF]
    told = []
    for name in found:
        if name == packing.SUMS or (name in SELF and made):
            continue
        how = "is missing in the new one" if name not in second else "is new" if name not in first else "differs"
        told.append(f"{name} {how}: {_why(name, stated, again)}")
    return told


def _why(name: str, stated: Mapping[str, Any], again: Mapping[str, Any]) -> str:
    folder, _, rest = name.partition("/")
    if folder == packing.LOCKS:
        return "another lock"
    if name == portable.FILE:
        return "another config"
    if name in SELF:
        return "all artifacts and verdicts are equal; Slipway's code, or what is known of a licence, is another here"
    kind, _, file = rest.partition("/")
    step = {packing.ARTIFACTS: f"{kind}:convert", packing.VERDICTS: f"{kind}:{file.removesuffix('.json')}:check"}.get(
        folder, of_agent.OBSERVATIONS
    )
    before, after = statement.steps(stated).get(step), statement.steps(again).get(step)
    if before is None or after is None:
        return f"{step} made nothing {'here' if after is None else 'there'}"
    old, new = before["key"], after["key"]
    if old.get("toolchain") != new.get("toolchain"):
        return f"{step} ran in another {new['toolchain']['name']}: another lock"
    if old.get("code") != new.get("code"):
        return f"the code of {step} is another"
    if old.get("settings") != new.get("settings") or old.get("limits") != new.get("limits"):
        return f"the settings of {step} are others"
    if old != new:
        return f"{step} was given something else, which differs too"
    return f"{step} made something else of the same, with the same lock and code: this machine computes otherwise"
