"""A config for an archive that someone already has: what is known is stated, what is guessed says so."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline import errors, surroundings
from pipeline.agents import inspection, listing
from pipeline.agents.inspection import Facts
from pipeline.surroundings import Training

MAX_NAME = 64
# Installed with Slipway. Other modules that a stranger's file names stay in a comment: a build would import them.
_WRAPPERS = re.compile(r"(?:stable_baselines3|sb3_contrib)\.common\.\w+|gymnasium\.wrappers")


def fit_name(path: Path, reserved: tuple[str, ...]) -> str:
    """A name for the agent of an archive: the file's, made fit for a path and a task."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", path.stem).strip("_-")[:MAX_NAME] or "agent"
    return f"{name[: MAX_NAME - 6]}_agent" if name in reserved else name


def write(path: Path, target: Path) -> None:
    """Write the config of an archive.

    :param target: ``configs/NAME.toml``, which must not be there yet
    :raises SlipwayError: the archive is refused (and is so for more than its policy_kwargs), or the config is there
    """
    text = draft(path, target.parent)
    target.parent.mkdir(parents=True, exist_ok=True)
    others = {other.stem.casefold() for other in target.parent.glob("*.toml")}
    if target.stem.casefold() in others:
        remedy = "Give another name: ./doit new FILE NAME"
        raise errors.AgentNameUnfit("a config of that name is there already", file=target, remedy=remedy)
    with target.open("x", encoding="utf-8") as file:
        file.write(text)


def draft(path: Path, folder: Path) -> str:
    """The text of the config.

    :param folder: where it will stand
    """
    facts = inspection.inspect(path)
    refusal = errors.from_json(facts["refusal"]) if facts["refusal"] else None
    pkl = facts.get("vecnormalize")
    unfit = refusal if pkl and refusal and refusal.file == pkl["file"] else None
    arguments = refusal if refusal and refusal.what.startswith("policy_kwargs") else None
    if refusal and not unfit and not arguments:
        raise refusal
    told = surroundings.training(path)
    parts = [
        _header(facts),
        [f"zip = {_quoted(os.path.relpath(path.resolve(), folder.resolve()))}"],
        _statistics(path, folder, facts, unfit, told),
        _images(facts),
        _arguments(arguments),
        ["", *_environment(path, facts, told)],
    ]
    return "\n".join(line for part in parts for line in part) + "\n"


def _quoted(text: str) -> str:
    """A TOML string."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise errors.AgentFileMissing("the path is no UTF-8, so no config can hold it", remedy="Rename it") from None
    return json.dumps(text.replace(os.sep, "/"), ensure_ascii=False).replace("\x7f", "\\u007f")


def _header(facts: Facts) -> Iterator[str]:
    version = facts["versions"].get("Stable-Baselines3", "of an unknown version")
    yield f"# {facts['algorithm']}, {facts['policy_class']}, saved by Stable-Baselines3 {version}"
    for verb, key in (("observes", "observation_space"), ("acts in", "action_space")):
        for label, value in listing.space(verb, facts[key]):
            yield f"# {label} {value}"


def _statistics(
    path: Path, folder: Path, facts: Facts, unfit: errors.SlipwayError | None, told: Training
) -> Iterator[str]:
    held = facts["vecnormalize"]
    if held and unfit:
        yield f"# {Path(held['file']).name} stands beside the archive, and is left out: {unfit.what}"
    if not held or unfit:
        if facts["was_normalized"] or told.normalized:
            source = "its last observations are normalized" if facts["was_normalized"] else "config.yml says so"
            yield f"# CAUTION: it was trained with VecNormalize ({source}). Without the file that VecNormalize.save"
            yield "# wrote, it decides otherwise than it was trained to. Name that file here."
        elif facts["was_normalized"] is told.normalized is None and not held:
            yield "# None was found beside it. If it was trained with VecNormalize, name the file that its save wrote."
        yield 'vecnormalize = "none"'
        return
    if path.stem.startswith("best_model"):
        yield "# CAUTION: these are the statistics of the end of the training; best_model is from an earlier step. They"
        yield "# may not belong to it: compare its return with the one in evaluations.npz."
    yield f"vecnormalize = {_quoted(os.path.relpath(Path(held['file']).resolve(), folder.resolve()))}"


def _images(facts: Facts) -> Iterator[str]:
    if any(part.get("image") for part in _observed(facts).values()):
        yield 'images = "channel-last"  # how you hold images: (height, width, channels); or "channel-first"'


def _observed(facts: Facts) -> dict[str, dict[str, Any]]:
    space = facts["observation_space"]
    return dict(space["spaces"]) if space["type"] == "Dict" else {"": space}


def _arguments(refusal: errors.SlipwayError | None) -> Iterator[str]:
    """What to do where policy_kwargs hold something of the user's own."""
    if not refusal:
        return
    yield f"# {errors.printable(refusal.what)}"
    key = re.search(r'import_allowed = \["[^"]*"\]', errors.printable(refusal.remedy))
    if key:
        yield f'# {key[0]}  # where its code can be imported; import_from = ["…"] names folders of yours'
    yield "# trust = true  # runs whatever code the archive holds: only for one that you made yourself"


def _environment(path: Path, facts: Facts, told: Training) -> Iterator[str]:
    guessed = told.environment or surroundings.environment(path)
    source = "args.yml" if told.environment else "its name"
    frames = _frames(facts, told)
    if guessed:
        yield "[environment]"
        yield f"id = {_quoted(guessed)}  # not in the archive; taken from {source}"
        yield "optional = true  # take it out once the id is right: a build then fails where it cannot be made"
    else:
        yield "# The environment is not in the archive. Without one, the check's observations are drawn."
        yield "[environment]" if frames > 1 else "# [environment]"
        yield '# id = "…"  # not in the archive: the gymnasium id that it was trained in'
    if frames > 1:
        yield f"frame_stack = {frames}  # as VecFrameStack had it"
    elif any(part.get("image") and part["shape"][0] == 4 for part in _observed(facts).values()):
        yield "# frame_stack = 4  # if its four channels are four frames"
    yield from _wrappers(told)


def _wrappers(told: Training) -> Iterator[str]:
    paths = [f"{module}:{name}" for module, _, name in (wrapper.rpartition(".") for wrapper in told.wrappers)]
    if paths:
        known = all(_WRAPPERS.fullmatch(path.partition(":")[0]) for path in paths)
        listed = ", ".join(_quoted(path) for path in reversed(paths))
        yield f"{'' if known else '# '}wrappers = [{listed}]  # from config.yml, innermost first"
    if told.packages:
        yield f"# imports = [{', '.join(_quoted(package) for package in told.packages)}]  # gym_packages of args.yml"
    if told.has_arguments:
        yield "# kwargs = { … }  # config.yml or env_kwargs.yml gives the environment, or a wrapper, arguments"


def _frames(facts: Facts, told: Training) -> int:
    """Stacked frames: as statistics of one frame show, or as config.yml says and the space allows."""
    observed = _observed(facts)
    for key, shape in ((facts["vecnormalize"] or {}).get("shapes") or {}).items():
        space = observed.get(key, {}).get("shape") or []
        if shape and len(shape) == len(space) and 0 < shape[-1] < space[-1] and space[-1] % shape[-1] == 0:
            return int(space[-1] // shape[-1])
    axes = [part["shape"][0 if part["image"] else -1] for part in observed.values() if part["type"] == "Box"]
    return told.frame_stack if axes and all(size % told.frame_stack == 0 for size in axes) else 1
