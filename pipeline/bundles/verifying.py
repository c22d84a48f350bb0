"""A bundle held to what it says of itself: the entry inside the toolchain ``bundles``.

    python -m pipeline.bundles.verifying FILE FOLDER

It opens the bundle into the empty ``FOLDER`` and prints a line of JSON: what was found, or the error. Nothing in it is
believed before it was compared, and nothing is executed.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline import contract as contracts
from pipeline import errors
from pipeline.bundles import bill, opening, packing, portable, refusals, statement, telling
from pipeline.bundles.opening import Limits, Opened
from pipeline.hops import BY_KIND

NEEDED = (packing.SUMS, statement.FILE, bill.FILE, portable.FILE, packing.GOLDEN, packing.LICENCE, telling.README,
          telling.REPORT)  # fmt: skip
TEXT = 64 << 20  # bytes of one


def verify(path: Path, target: Path, limits: Limits | None = None) -> dict[str, Any]:
    """Open a bundle and hold it to its digests, its statement and its contracts.

    :return: ``name``, ``folder``, ``epoch``, ``files`` (sha256 by name), ``kinds`` (status by kind), ``algorithm``
    :raises errors.SlipwayError: one of the ``Bundle…`` classes
    """
    opened = opening.unpack(path, target, limits)
    try:
        _check_sums(opened)
        stated = _statement(opened)
        _check_bill(opened)
        kinds = {kind: _check_kind(opened, kind, stated) for kind in _kinds(opened, stated)}
        place = f"{packing.ARTIFACTS}/{min(kinds)}/{contracts.FILE}"
        with _holding(place):
            algorithm = str(_json(opened, place)["algorithm"])
    except errors.SlipwayError as error:
        raise error.at(agent=opened.name, file=path) from None
    return {
        "name": opened.name,
        "folder": str(opened.folder),
        "epoch": opened.epoch,
        "files": opened.files,
        "kinds": kinds,
        "algorithm": algorithm,
    }


def _check_sums(opened: Opened) -> None:
    """Every member is in the list with its digest, and nothing else is."""
    found = dict(opened.files)
    own = found.pop(packing.SUMS, "")
    if not own:
        raise refusals.BundleUnfit(f"it has no {packing.SUMS}")
    try:
        wanted = packing.listed(_text(opened, packing.SUMS))
    except ValueError as error:
        raise refusals.BundleUnfit(f"{packing.SUMS}: {_short(error)}") from None
    missing, extra = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    for name in missing:
        became = next((other for other in extra if found[other] == wanted[name]), "")
        if became:
            raise refusals.BundleUnfit(f"the member {name} is renamed", expected=name, found=became)
        raise refusals.BundleUnfit(f"the member {name} is missing", expected=f"sha256 {wanted[name]}")
    if extra:
        raise refusals.BundleUnfit(f"the member {extra[0]} is not one of it", expected=f"what {packing.SUMS} lists")
    for name, digest in found.items():
        if digest != wanted[name]:
            raise refusals.BundleUnfit(f"the member {name} is changed", expected=f"sha256 {wanted[name]}", found=digest)
    for name in NEEDED:
        if name not in opened.files:
            raise refusals.BundleUnfit(f"it has no {name}")


def _statement(opened: Opened) -> dict[str, Any]:
    """The provenance, held to the files.

    :raises refusals.BundleUnfit: it is no such statement, or is about other files
    """
    stated = _json(opened, statement.FILE)
    with _holding(statement.FILE):
        kinds = (stated["_type"], stated["predicateType"], stated["predicate"]["buildDefinition"]["buildType"])
        if kinds != (statement.TYPE, statement.PREDICATE, statement.BUILD):
            raise refusals.BundleUnfit(f"{statement.FILE} is no statement of Slipway's", found=_short(kinds))
        subjects = {entry["name"]: entry["digest"]["sha256"] for entry in stated["subject"]}
        asked = stated["predicate"]["buildDefinition"]["externalParameters"]
        about = [name for name in opened.files if name not in (statement.FILE, packing.SUMS)]
        for name in packing.same({name: opened.files[name] for name in about}, subjects):
            what = f"{statement.FILE} is not about this {name}"
            raise refusals.BundleUnfit(
                what, expected=_short(subjects.get(name, "none")), found=opened.files.get(name, "none")
            )
        if asked["agent"] != opened.name or asked["config"] != _text(opened, portable.FILE):
            raise refusals.BundleUnfit(f"{statement.FILE} is about another agent or config", expected=opened.name)
        went_in = statement.dependencies(stated)
        if portable.ZIP not in went_in:
            raise refusals.BundleUnfit(f"{statement.FILE} does not say from which agent it was made")
        for name, digest in went_in.items():
            if name.startswith(f"{packing.LOCKS}/") and opened.files.get(name) != digest:
                raise refusals.BundleUnfit(f"{name} is not the lock that it was built with", expected=digest)
            if opened.files.get(f"{packing.SOURCE}/{name}", digest) != digest:
                raise refusals.BundleUnfit(f"{packing.SOURCE}/{name} is not what it was built from", expected=digest)
        tomllib.loads(asked["config"])
        statement.steps(stated)
    return stated


def _check_bill(opened: Opened) -> None:
    told = _json(opened, bill.FILE)
    if (told.get("bomFormat"), told.get("specVersion")) != ("CycloneDX", "1.6"):
        raise refusals.BundleUnfit(f"{bill.FILE} is no CycloneDX 1.6")


def _kinds(opened: Opened, stated: dict[str, Any]) -> list[str]:
    with _holding(statement.FILE):
        told = [entry["kind"] for entry in stated["predicate"]["buildDefinition"]["internalParameters"]["kinds"]]
        there = {name.split("/")[1] for name in opened.files if name.startswith(f"{packing.ARTIFACTS}/")}
        unknown = sorted(set(told) - set(BY_KIND))
        if set(told) != there or unknown or not told:
            raise refusals.BundleUnfit("it holds other kinds than it says", expected=_short(", ".join(told)),
                                     found=_short(", ".join(unknown or sorted(there))))  # fmt: skip
    return sorted(there)


def _check_kind(opened: Opened, kind: str, stated: dict[str, Any]) -> str:
    """The status of a kind, whose contract, files and verdicts hold.

    :raises refusals.BundleUnfit: they do not
    """
    place = f"{packing.ARTIFACTS}/{kind}/"
    contract = _json(opened, f"{place}{contracts.FILE}")
    with _holding(f"{place}{contracts.FILE}"):
        wanted = {"kind": kind, "agent": opened.name, "slipway": contracts.VERSION}
        for name, value in wanted.items():
            if contract[name] != value:
                raise refusals.BundleUnfit(f"the contract of {kind} is another's", expected=f"{name} {value}",
                                         found=_short(contract[name]))  # fmt: skip
        for name in contract["files"]:
            if not any(file == place + name or file.startswith(f"{place}{name}/") for file in opened.files):
                raise refusals.BundleUnfit(f"the contract of {kind} names {_short(name)}, which is not there")
        for name, digest in contract.get("sha256", {}).items():
            if opened.files.get(place + name, digest) != digest:
                raise refusals.BundleUnfit(f"{place}{name} is not the one of its contract", expected=f"sha256 {digest}")
        went_in = statement.dependencies(stated)
        for name, digest in contract["source"].items():
            if went_in.get(name) != digest:
                raise refusals.BundleUnfit(f"the artifact {kind} is made from another {name} than the statement says")
        _check_golden(kind, contract)
    return _status(opened, kind, contract)


def _check_golden(kind: str, contract: dict[str, Any]) -> None:
    """Golden vectors of every input and output, as many of each."""
    golden = contract["golden"]
    counts = {len(golden["inputs"][entry["name"]]) for entry in contract["takes"]}
    counts |= {len(values) for values in golden["outputs"].values()}
    named = {"action", *(entry["name"] for entry in contract["outputs"])}
    if len(counts) != 1 or 0 in counts or not named <= set(golden["outputs"]):
        raise refusals.BundleUnfit(f"the contract of {kind} has no whole golden vectors")


def _status(opened: Opened, kind: str, contract: dict[str, Any]) -> str:
    """What the verdicts say: "passed", or "waived" with a reason."""
    place = f"{packing.VERDICTS}/{kind}/"
    found = {name: _json(opened, name) for name in sorted(opened.files) if name.startswith(place)}
    with _holding(place):
        judged = [verdict["status"] for name, verdict in found.items() if verdict["status"] != "not_run"]
        if "waived" in judged and not contract.get("waiver", {}).get("reason"):
            raise refusals.BundleUnfit(f"the artifact {kind} is waived without a reason")
        deciding = found[f"{place}{BY_KIND[kind].runtimes[0]}.json"]["status"] if BY_KIND[kind].rungs else ""
        if not judged or deciding == "failed" or ("failed" in judged and not deciding):
            raise refusals.BundleUnfit(
                f"the artifact {kind} did not pass, and is in a bundle", found=", ".join(judged) or "no verdict"
            )
    return "waived" if "waived" in judged else "passed"


@contextlib.contextmanager
def _holding(name: str) -> Iterator[None]:
    """Turn a field that is missing or of another type into our error: what is read may be anything."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as error:
        what = f"{name} is not as Slipway writes it ({type(error).__name__}: {_short(error)})"
        raise refusals.BundleUnfit(what) from None


def _short(value: object) -> str:
    """As much of a stranger's value as a line of an error holds."""
    text = str(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _text(opened: Opened, name: str) -> str:
    path = opened.folder / name
    if path.stat().st_size > TEXT:
        raise refusals.BundleUnsafe(f"the text {name} is too large", expected=f"at most {TEXT:,} bytes")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise refusals.BundleUnfit(f"{name} is no text") from None


def _json(opened: Opened, name: str) -> dict[str, Any]:
    """An object, with every key once, and no deeper than Slipway's own.

    :raises refusals.BundleUnfit: it is something else
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) < len(pairs):
            raise ValueError("a key is there twice")
        return dict(pairs)

    if name not in opened.files:
        raise refusals.BundleUnfit(f"it has no {name}")
    with _holding(name):
        found = json.loads(_text(opened, name), object_pairs_hook=once)
        if not isinstance(found, dict):
            raise ValueError("no object")
    return found


def main(path: Path, folder: Path) -> int:
    """Print what was found, or the error, as a line of JSON."""
    try:
        told = verify(path, folder)
    except errors.SlipwayError as error:
        told = dict(error.to_json())
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
