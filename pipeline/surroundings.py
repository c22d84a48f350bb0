"""What stands beside an archive: its statistics, and what rl_zoo3 wrote of its training.

rl_zoo3's ``args.yml`` and ``config.yml`` are YAML with Python tags, which a YAML reader would act on. Here they are
text, of which single values are taken by regular expressions. Layouts: rl-baselines3-zoo's ``ENV_1/ENV.zip`` with
``ENV_1/ENV/``, and its repositories on the Hugging Face Hub with everything in one folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

STATISTICS = ("vecnormalize.pkl", "vec_normalize.pkl")
MAX_TEXT = 1 << 16
_ALGORITHMS = "ppo_lstm|ppo_mask|recurrentppo|maskableppo|ppo|a2c|qrdqn|dqn|sac|td3|ddpg|tqc|trpo|ars|crossq|her"
_ID = re.compile(r"[A-Za-z]\w*(?:[-/][A-Za-z0-9]\w*)*-v\d{1,3}")  # no ":", behind which gymnasium imports a module
_CHECKPOINT = re.compile(r"(.+)_(\d+_steps)")
_CLASS = re.compile(r"\b[A-Za-z_]\w{0,40}(?:\.[A-Za-z_]\w{0,40}){0,6}\.[A-Z]\w{0,40}")


@dataclass(frozen=True)
class Training:
    """What ``args.yml`` and ``config.yml`` say; nothing of it is certain to be true.

    :param environment: gymnasium id, or ""
    :param frame_stack: 1 if there is none
    :param wrappers: dotted names of classes, as they stand there
    :param packages: modules that register environments
    :param normalized: whether VecNormalize was there; None where no ``config.yml`` is
    :param has_arguments: whether the environment or a wrapper was made with arguments
    :param files: names of the files that it is taken from
    """

    environment: str = ""
    frame_stack: int = 1
    wrappers: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    normalized: bool | None = None
    has_arguments: bool = False
    files: tuple[str, ...] = ()


def statistics(path: Path) -> Path | None:
    """VecNormalize's statistics that were saved with an archive, as far as names tell."""
    checkpoint = _CHECKPOINT.fullmatch(path.stem)
    names = [f"{checkpoint[1]}_vecnormalize_{checkpoint[2]}.pkl"] if checkpoint else []
    candidates = [path.parent / name for name in names]
    candidates += [folder / name for folder in _folders(path) for name in STATISTICS]
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def training(path: Path) -> Training:
    """What rl_zoo3 wrote of an archive's training, if it did."""
    texts = {}
    for name in ("args.yml", "config.yml", "env_kwargs.yml"):
        held = next((folder / name for folder in _folders(path) if (folder / name).is_file()), None)
        if held:
            with held.open("rb") as file:
                texts[name] = file.read(MAX_TEXT).decode("utf-8", "replace")
    args, config = texts.get("args.yml", ""), texts.get("config.yml", "")
    found = _ID.fullmatch(_value(args, "env"))
    frames, wrappers = _value(config, "frame_stack"), _block(config, "env_wrapper")
    given = _block(args, "env_kwargs").strip(" -\n") not in ("", "null", "{}") or bool(
        texts.get("env_kwargs.yml", "").strip()
    )
    return Training(
        environment=found[0] if found else "",
        frame_stack=int(frames) if re.fullmatch(r"[1-9]\d?", frames) else 1,
        wrappers=tuple(_CLASS.findall(wrappers)),
        packages=tuple(re.findall(r"- ([a-z_]\w*)$", _block(args, "gym_packages"), re.MULTILINE)),
        normalized=_block(config, "normalize").strip(" -\n") not in ("", "false", "null") if config else None,
        has_arguments=given or bool(re.search(r":\s*$", wrappers, re.MULTILINE)),
        files=tuple(texts),
    )


def environment(path: Path) -> str:
    """A gymnasium id that the archive's name, or its folder's, looks like; or ""."""
    for name in (path.stem, re.sub(r"_\d+$", "", path.resolve().parent.name)):
        bare = re.sub(rf"^(?:{_ALGORITHMS})[-_]", "", name, flags=re.IGNORECASE)
        found = _ID.match(bare)
        if found and not bare[found.end() : found.end() + 1].isalnum():
            return re.sub("^ALE-", "ALE/", found[0])
    return ""


def _folders(path: Path) -> Iterator[Path]:
    """Where rl_zoo3 puts what belongs to an archive."""
    yield path.with_suffix("")
    yield path.parent
    yield path.parent / re.sub(r"_\d+$", "", path.resolve().parent.name)  # best_model.zip beside ENV/


def _block(text: str, key: str) -> str:
    """What stands under a key: ``- - KEY`` and the items below, or ``KEY: …`` and what is indented more deeply."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        head = re.fullmatch(rf"([\s-]*)['\"]?{re.escape(key)}['\"]?(?::\s*(.*))?", line)
        if head:
            depth = len(head[1]) - 2 if head[2] is None else len(head[1]) + 1
            below = [head[2] or ""]
            for other in lines[number + 1 :]:
                if len(other) - len(other.lstrip(" ")) < depth:
                    break
                below.append(other)
            return "\n".join(below).strip("\n")
    return ""


def _value(text: str, key: str) -> str:
    """The plain value under a key, or ""."""
    found = re.fullmatch(r"\s*(?:-\s*)?['\"]?([\w./ -]*?)['\"]?\s*", _block(text, key)[:200])
    return found[1] if found else ""
