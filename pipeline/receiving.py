"""The task of those who receive a bundle: ``./doit verify``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from pipeline import artifacts, errors, rebuilding, scratch, told, toolchains
from pipeline.bundles import golden, portable, refusals, signing, statement
from pipeline.commands import Parser, about_files
from pipeline.spec import Agent
from pipeline.tasks import Task
from pipeline.toolchains import making

SECONDS = 300  # that a bundle's opening or its golden vectors may take
USAGE = "./doit verify FILE… [--signer KEY.pub] [--rebuild [--agent FILE] [--vecnormalize FILE]]"
OPTIONS = {"signer": str, "rebuild": bool, "agent": str, "vecnormalize": str}


def for_verifying(agents: list[Agent], root: Path) -> Task:
    """Hold bundles to what they say."""

    def act(arguments: list[str]) -> bool:
        return verify(arguments, agents, root)

    doc = f"hold a bundle to its digests, contracts, golden vectors and signature: {USAGE}"
    return about_files(doc, act, OPTIONS) | {"task_dep": ["toolchains:bundles"]}


def verify(arguments: list[str], agents: list[Agent], root: Path) -> bool:
    """Hold bundles to their signatures, digests, contracts and golden vectors; with ``--rebuild``, to a new build.

    Whether all hold.
    """
    parser = Parser(usage=USAGE, add_help=False)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--signer", default="")
    parser.add_argument("--rebuild", action="store_true")
    parser.add_argument("--agent", default="")
    parser.add_argument("--vecnormalize", default="")
    asked = parser.parse_intermixed_args(arguments)
    good = True
    for file in asked.files:
        with tempfile.TemporaryDirectory(dir=scratch.folder()) as place:
            try:
                _verify(told.located(file), asked, agents, root, Path(place))
            except errors.SlipwayError as error:
                print(f"✗ {error}")
                good = False
    return good


def _verify(path: Path, asked: argparse.Namespace, agents: list[Agent], root: Path, place: Path) -> None:
    if not path.is_file():
        raise refusals.BundleUnreadable("it is not there", file=path)
    signed = _signature(path, asked.signer)
    (place / "opened").mkdir()
    found = _opened(path, place / "opened")
    waived = [kind for kind, status in found["kinds"].items() if status == "waived"]
    print(f"{path}: {found['name']}, {found['algorithm']}, {len(found['kinds'])} kinds")
    print(f"✓ {len(found['files'])} files are as its list and its statement say; the contracts hold")
    print(f"{'✓' if asked.signer else '–'} {signed}")
    _golden(path, found)
    if waived:
        print(f"! waived: {', '.join(waived)}; its README says why")
    if asked.rebuild:
        _rebuild(path, found, asked, agents, root, place)


def _signature(path: Path, signer: str) -> str:
    """What the signature is worth.

    :raises errors.SlipwayError: it is not of this file, or not by the signer who was named
    """
    if not signer:
        return signing.glance(path)
    try:
        return signing.check(path, told.located(signer))
    except errors.NotRun as absent:
        raise refusals.SignatureRefused(f"the signature cannot be checked: {absent.what}", file=path) from None


def _opened(path: Path, folder: Path) -> dict[str, Any]:
    """What the toolchain that opens bundles found.

    :raises errors.SlipwayError: why it is refused
    """
    call = [toolchains.python("bundles"), "-m", "pipeline.bundles.verifying", str(path.resolve()), str(folder)]
    found: dict[str, Any] = json.loads(_said(call, path))
    if "error" in found:
        error = errors.from_json(found)
        error.file = str(path) if error.file == str(path.resolve()) else error.file
        raise error
    return found


def _said(call: list[str], path: Path) -> str:
    """What a program of ours printed.

    :raises refusals.BundleUnreadable: it died over this bundle
    """
    try:
        done = subprocess.run(call, capture_output=True, text=True, timeout=SECONDS, env=toolchains.environment())
    except subprocess.TimeoutExpired:
        raise refusals.BundleUnreadable(f"{call[2]} was stopped after {SECONDS} s", file=path) from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
        raise refusals.BundleUnreadable(f"{call[2]} died over it: {lines[-1][:200]}", file=path)
    return done.stdout


def _golden(path: Path, found: dict[str, Any]) -> None:
    """Run the golden vectors in a process of their own.

    :raises refusals.GoldenVectorsMissed: an artifact answers otherwise, or nothing here can run it
    """
    kinds = {kind: golden.runtime_of(kind) for kind in found["kinds"]}
    unrun = [kind for kind, runtime in kinds.items() if not runtime]
    for reason in dict.fromkeys(map(golden.unrun, unrun)):
        which = ", ".join(kind for kind in unrun if golden.unrun(kind) == reason)
        print(f"– golden vectors not run: {which}: it {reason}")
    safe = [kind for kind, runtime in kinds.items() if runtime]
    if not safe:
        return
    absent = _device()
    if absent:
        what = f"golden vectors not run: {absent}"
        raise refusals.GoldenVectorsMissed(
            what, file=path, remedy="The files hold; make ./doit toolchains:device for more"
        )
    call = [toolchains.python("device"), "-m", "pipeline.bundles.golden", found["folder"]]
    answers: dict[str, str] = json.loads(_said(call, path))
    wrong = [f"{kind}: {answers[kind]}" for kind in safe if answers[kind]]
    if wrong:
        raise refusals.GoldenVectorsMissed(f"the artifact {'; '.join(wrong)}", file=path, agent=found["name"])
    print(f"✓ golden vectors hold: {', '.join(safe)}")
    for name, digest in found["files"].items():
        ours = toolchains.ROOT / "pipeline" / "hops" / Path(name).name
        if name.endswith("_policy.py") and not (ours.is_file() and artifacts.digest(ours) == digest):
            print(f"! {name} is not the one of this clone, and was not run")


def _device() -> str:
    """Why the runtimes are not there; "" where they are, or could be made."""
    if toolchains.ready("device"):
        return ""
    try:
        making.make("device", toolchains.home() / "device.log")
    except errors.SlipwayError as error:
        return error.what
    return ""


def _rebuild(path: Path, found: dict[str, Any], asked: argparse.Namespace, agents: list[Agent], root: Path,
             place: Path) -> None:  # fmt: skip
    """Build the bundle anew, and say that it is equal.

    :raises refusals.BundleDiffers: it is not; which files differ, and why, is printed
    """
    opened, name = Path(found["folder"]), found["name"]
    stated = json.loads((opened / statement.FILE).read_text(encoding="utf-8"))
    own = next((agent for agent in agents if agent.name == name), None)
    given = [str(told.located(value).resolve()) if value else "" for value in (asked.agent, asked.vecnormalize)]
    source = rebuilding.source_of(own, root, opened)
    if asked.agent:
        source = dataclasses.replace(source, zip=given[0], vecnormalize=given[1])
    rebuilding.check_config(tomllib.loads((opened / portable.FILE).read_text(encoding="utf-8")), own)
    rebuilding.check_source(stated, source)
    for difference in rebuilding.differences(stated):
        print(f"! {difference}")
    again = rebuilding.rebuild(opened, name, found["epoch"], source, place)
    (place / "again").mkdir()
    second = _opened(again, place / "again")
    restated = json.loads((Path(second["folder"]) / statement.FILE).read_text(encoding="utf-8"))
    differing = rebuilding.compared(found["files"], second["files"], stated, restated)
    for line in differing:
        print(f"✗ {line}")
    if differing:
        what = f"{len(differing)} of {len(found['files'])} files are not as they are built here"
        raise refusals.BundleDiffers(what, file=path, agent=name)
    same = artifacts.digest(again) == artifacts.digest(path)
    packed = "byte by byte" if same else "file by file; compressed otherwise, by another zstandard"
    print(f"✓ rebuilt from {source.zip}: equal, {packed}")
