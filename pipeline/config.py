"""``configs/*.toml`` -> :class:`pipeline.spec.Agent`, validated by msgspec, with clear refusals."""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec

from pipeline import errors, places
from pipeline.spec import Agent

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TYPES = {"array": "a list", "object": "a table", "str": "a text", "int": "a whole number", "float": "a number",
          "bool": "true or false", "null": "nothing"}  # fmt: skip
_TYPE = re.compile(f"`({'|'.join(_TYPES)})`")  # as msgspec calls them


def paths(folder: Path) -> list[Path]:
    """The configs of a folder, in the order of their names."""
    return sorted(folder.glob("*.toml"))


def none_in(folder: Path) -> errors.SlipwayError:
    """Why a folder gives no config."""
    what = (
        "it holds no *.toml"
        if places.is_folder(folder)
        else "it is not a folder"
        if places.is_file(folder)
        else "it does not exist"
    )
    remedy = "Name the folder of your configs, ./doit configs=PATH, or have one written: ./doit new FILE"
    return errors.FolderUnfit(what, file=folder, remedy=remedy)


def load(path: Path, kinds: Sequence[str], reserved: Iterable[str] = ()) -> Agent:
    """Read one config.

    :param path: ``configs/NAME.toml``; NAME becomes the agent's name
    :param kinds: known targets
    :param reserved: names that an agent cannot have, being names of tasks
    :raises SlipwayError: one of the ``Config…`` classes, :class:`errors.AgentNameUnfit`,
        :class:`errors.AgentFileMissing` or :class:`errors.StatisticsMissing`
    """
    name = path.stem
    try:
        _check_name(name, reserved)
        agent = _parse(path, _read(path))
        _check_targets(agent, kinds)
        _check_import_from(agent)
        _check_observations(agent)
        _check_files(agent, path)
    except errors.SlipwayError as error:
        raise error.at(agent=name, file=places.of_sentence(path, error.what)) from None
    return agent


def duplicates(names: Iterable[str]) -> dict[str, str]:
    """Names that would share a folder on a file system that ignores case: name -> the one it meets."""
    first: dict[str, str] = {}
    met = {}
    for name in names:
        if name.casefold() in first:
            met[name] = first[name.casefold()]
        first.setdefault(name.casefold(), name)
    return met


def fit(name: str) -> bool:
    """Whether a name is fit for a path and a task."""
    return bool(_NAME.fullmatch(name))


def _check_name(name: str, reserved: Iterable[str]) -> None:
    if not fit(name):
        want = "letters, digits, '-' and '_', at most 64, a letter or digit first"
        raise errors.AgentNameUnfit("the agent's name is unfit for a path", expected=want, found=repr(name))
    if name in reserved:
        raise errors.AgentNameUnfit(f"'{name}' is the name of a task, so an agent cannot have it")


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise errors.ConfigUnreadable(f"the config is not TOML: {error}") from None
    except UnicodeDecodeError as error:
        what = f"the config is not UTF-8, as TOML is: byte {error.start} is {error.object[error.start]:#04x}"
        raise errors.ConfigUnreadable(what, remedy="Save it as UTF-8") from None
    except RecursionError:
        raise errors.ConfigUnreadable("the config is not TOML: it is too deeply nested") from None
    except OSError as error:
        remedy = "A config is a file that can be read"
        raise errors.ConfigUnreadable(f"the config cannot be read ({error.strerror})", remedy=remedy) from None


def _parse(path: Path, raw: dict[str, Any]) -> Agent:
    for derived in ("name", "config"):
        if derived in raw:
            raise errors.ConfigUnknownKey(f"'{derived}' cannot be set: it follows from the file's name")
    _check_keys(raw, Agent, "", path)
    _check_texts(raw, path)
    folder = path.parent
    located = dict(raw)
    for key in ("zip", "vecnormalize"):
        value = raw.get(key)
        if isinstance(value, str) and value not in ("", "none"):
            located[key] = str(folder / value)
    for key in ("observations", "calibration"):
        table = raw.get(key)
        if isinstance(table, dict) and isinstance(table.get("file"), str) and table["file"]:
            located[key] = {**table, "file": str(folder / table["file"])}
    if isinstance(raw.get("import_from"), list):
        located["import_from"] = [str(folder / v) if isinstance(v, str) else v for v in raw["import_from"]]
    try:
        return msgspec.convert({**located, "name": path.stem, "config": str(path)}, Agent)
    except msgspec.ValidationError as error:
        what, at, place = str(error).rpartition(" - at `$")
        what = _TYPE.sub(lambda found: _TYPES[found[1]], what if at else place)
        key = _named(raw, place.rstrip("`").lstrip(".") if at else "", what)
        choices = get_args(get_type_hints(Agent).get(key)) if what.startswith("Invalid enum value") else ()
        wanted = " or ".join(map(repr, choices))
        raise errors.ConfigWrongValue(f"`{key}`: {what}", file=places.of_key(path, key), expected=wanted) from None


def _named(raw: Mapping[str, Any], key: str, what: str) -> str:
    """The dotted key that a refusal is about: a limit of several keys is told of their table."""
    table = raw.get(key) if key else raw
    words = re.findall(r"\w+", what)
    inner = next((name for name in table if name in words), "") if isinstance(table, Mapping) else ""
    return ".".join(filter(None, (key, inner)))


def _check_keys(raw: dict[str, Any], cls: type, prefix: str, path: Path) -> None:
    hints = get_type_hints(cls)
    for key, value in raw.items():
        if key not in hints:
            close = difflib.get_close_matches(key, hints, n=1)
            hint = f"did you mean '{prefix}{close[0]}'?" if close else f"known: {', '.join(sorted(hints))}"
            raise errors.ConfigUnknownKey(f"unknown key '{prefix}{key}'; {hint}", file=places.of_key(path, key))
        if dataclasses.is_dataclass(hints[key]) and isinstance(value, dict):
            _check_keys(value, hints[key], f"{prefix}{key}.", path)


def _check_texts(raw: Mapping[str, Any], path: Path) -> None:
    """For the system, a NUL ends a path, a command and an argument: another one would be meant."""
    for key, value in raw.items():
        if any("\0" in text for text in _texts(value)):
            raise errors.ConfigWrongValue(f"`{key}` holds a NUL character", file=places.of_key(path, key))


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, held in value.items():
            yield from (key, *_texts(held))
    elif isinstance(value, list):
        for held in value:
            yield from _texts(held)


def _check_targets(agent: Agent, kinds: Sequence[str]) -> None:
    if not agent.targets:
        raise errors.ConfigWrongValue("targets is empty", expected=f'["all"] or some of: {", ".join(kinds)}')
    for target in agent.targets:
        if target != "all" and target not in kinds:
            close = difflib.get_close_matches(target, kinds, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            raise errors.ConfigWrongValue(f"targets has '{target}', which is unknown{hint}", expected=", ".join(kinds))


def _check_import_from(agent: Agent) -> None:
    for folder in agent.import_from:
        if not places.is_folder(Path(folder)):
            raise errors.ConfigWrongValue("import_from names no folder", found=folder)


def _check_observations(agent: Agent) -> None:
    for name, path in (("observations", agent.observations.file), ("calibration", agent.calibration.file)):
        if path and not places.is_file(Path(path)):
            raise errors.ConfigWrongValue(f"{name}.file names no file", found=path)


def _check_hub(agent: Agent) -> None:
    hub = agent.hub
    if agent.zip:
        raise errors.ConfigWrongValue("zip and [hub] are both set: the archive comes from one of them")
    if agent.vecnormalize != "none":
        raise errors.ConfigWrongValue("vecnormalize is set, but [hub] fetches the agent: set hub.vecnormalize instead")
    absent = [key for key in ("repo_id", "filename", "revision") if not getattr(hub, key)]
    if absent:
        raise errors.ConfigWrongValue(f"[hub] lacks {' and '.join(absent)}", expected="repo_id, filename and revision")
    if not _REPOSITORY.fullmatch(hub.repo_id):
        raise errors.ConfigWrongValue("hub.repo_id is no repository", expected="owner/name", found=repr(hub.repo_id))
    if not _COMMIT.fullmatch(hub.revision):
        raise errors.ConfigWrongValue(
            "hub.revision is no commit, and a branch or tag would be another agent tomorrow",
            expected="40 hexadecimal digits",
            found=repr(hub.revision),
            remedy="Copy the full commit from the repository's page: Files and versions, History",
        )


def _check_files(agent: Agent, path: Path) -> None:
    stated = _read(path)
    if "hub" in stated:
        _check_hub(agent)
        return
    if not agent.zip and not agent.recipe.algorithm:
        raise errors.ConfigWrongValue("neither zip nor [hub] nor [recipe] algorithm is set: there is no agent to build")
    if not agent.zip:
        if not agent.environment.id:
            raise errors.ConfigWrongValue("[recipe] needs [environment] id")
        if agent.vecnormalize != "none":
            raise errors.ConfigWrongValue("vecnormalize is set, but the recipe makes its own statistics")
        return
    archive = Path(agent.zip)
    if not places.is_file(archive):
        raise errors.AgentFileMissing(places.missing(archive))
    if agent.vecnormalize != "none":
        if not places.is_file(Path(agent.vecnormalize)):
            raise errors.StatisticsMissing(places.missing(Path(agent.vecnormalize)))
        return
    beside = [archive.with_name("vecnormalize.pkl"), archive.with_suffix("") / "vecnormalize.pkl"]
    for candidate in beside:
        if places.is_file(candidate) and "vecnormalize" not in stated:
            raise errors.StatisticsMissing(f"the config does not say whether {candidate} belongs to the archive")
