"""An archive, and its statistics, from a commit of a Hugging Face Hub repository."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline import errors

ZIP, PKL = "agent.zip", "vecnormalize.pkl"
STATISTICS = ("vec_normalize.pkl", "vecnormalize.pkl")  # as rl_zoo3 names them on the Hub and in its folders


def fetch(target: Path, settings: dict[str, str]) -> None:
    """``hub`` artifact: the archive, and the statistics if there are any.

    The client's own cache lives inside ``target`` for as long as this takes, so nothing is left in the user's home.

    :param settings: ``repo_id``, ``filename``, ``revision`` (a commit), ``vecnormalize`` (a path, "none" or "")
    """
    wanted = {ZIP: settings["filename"]}
    if settings["vecnormalize"] not in ("", "none"):
        wanted[PKL] = settings["vecnormalize"]
    with _told(settings):
        held = _listed(settings)
        for filename in wanted.values():
            if filename not in held:
                raise _missing(filename, list(held), settings)
        if not settings["vecnormalize"]:
            _check_statistics(settings["filename"], list(held))
        for name, filename in wanted.items():
            _download(filename, held[filename], target / name, settings)


def _listed(settings: dict[str, str]) -> dict[str, Any]:
    """What the commit holds, by path."""
    from huggingface_hub import HfApi

    entries = HfApi().list_repo_tree(settings["repo_id"], recursive=True, revision=settings["revision"])
    return {entry.path: entry for entry in entries if hasattr(entry, "blob_id")}


def _missing(filename: str, held: list[str], settings: dict[str, str]) -> errors.HubFileMissing:
    close = difflib.get_close_matches(filename, held, n=1, cutoff=0.4)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    zips = [name for name in held if PurePosixPath(name).suffix in (".zip", ".pkl")]
    what = f"{settings['repo_id']} has no file '{filename}' in that commit{hint}"
    return errors.HubFileMissing(what, expected=", ".join(zips[:10]))


def _check_statistics(filename: str, held: list[str]) -> None:
    """Statistics that lie beside the archive must be named or declined, as for a local one."""
    for folder in (PurePosixPath(filename).parent, PurePosixPath(filename).with_suffix("")):
        for name in STATISTICS:
            if str(folder / name) in held:
                raise errors.StatisticsMissing(
                    f"the config does not say whether {folder / name} belongs to the archive",
                    remedy='Set vecnormalize = "…" or vecnormalize = "none" in [hub]',
                )


def _download(filename: str, entry: Any, target: Path, settings: dict[str, str]) -> None:
    """One file, held to the digest that the repository states."""
    from huggingface_hub import hf_hub_download

    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".hub-") as place:
        path = hf_hub_download(
            settings["repo_id"], filename, revision=settings["revision"], local_dir=place, cache_dir=f"{place}/cache"
        )
        content = Path(path).read_bytes()
    found = hashlib.sha256(content).hexdigest()
    stated = entry.lfs.sha256 if entry.lfs else entry.blob_id
    # What git keeps itself is named by git's own digest.
    if stated != (found if entry.lfs else hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()):
        raise errors.AgentFileDamaged(f"{filename} is not the file that the repository describes", found=found)
    print(f"{settings['repo_id']} at {settings['revision']}: {filename}, {len(content):,} bytes, sha256 {found}")
    target.write_bytes(content)


@contextlib.contextmanager
def _told(settings: dict[str, str]) -> Iterator[None]:
    """Turn the client's errors into ours."""
    import httpx2
    from huggingface_hub import errors as theirs

    repo = settings["repo_id"]
    try:
        yield
    except theirs.GatedRepoError:
        raise errors.HubRepositoryGated(f"{repo} is gated, and this account was not let in") from None
    except theirs.RepositoryNotFoundError:
        raise errors.HubRepositoryMissing(f"there is no repository {repo} on the Hub, or it is private") from None
    except theirs.RevisionNotFoundError:
        raise errors.HubRevisionUnknown(f"{repo} has no commit {settings['revision']}") from None
    except theirs.RemoteEntryNotFoundError as error:
        raise errors.HubFileMissing(f"{repo}: {_line(error)}") from None
    except theirs.HFValidationError as error:
        raise errors.ConfigWrongValue(f"[hub]: {_line(error)}") from None
    except (httpx2.HTTPError, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno:  # this machine's, a full disk for instance
            raise
        raise errors.HubUnreachable(f"the Hub did not give {repo}: {_line(error.__cause__ or error)}") from None


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:200]
