"""Runs published as datasets on the Hugging Face Hub, and fetched from there."""

import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from headcount.results import InputError, Run, open_run
from headcount.results.internal import write_folder_whole
from headcount.study.dataset_card import dataset_card
from headcount.study.unit import FailedError

MANIFEST = "manifest.json"
SUFFIXES = (".json", ".safetensors")
_ADDRESS = re.compile(r"hf://datasets/([\w.-]+(?:/[\w.-]+)?)(?:@([\w./-]+))?/?", re.ASCII)


class Dataset(NamedTuple):
    """A dataset on the Hub.

    Attributes:
        name: OWNER/NAME, or NAME alone for one's own.
        revision: A branch, tag or commit; None is the newest state.
    """

    name: str
    revision: str | None = None


def parse_address(address: str) -> Dataset:
    """Return the dataset of an address such as `hf://datasets/OWNER/NAME`.

    Raises:
        InputError: It has another form.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise InputError(f"expected hf://datasets/OWNER/NAME, got {address!r:.80}: name a dataset on the Hub")
    return Dataset(match[1], match[2])


def push_run(folder: Path, address: str, *, private: bool = False, licence: str = "other") -> str:
    """Publish a run as a dataset: its results, its manifest, and a card with figures, provenance and licence.

    The dataset is made if it is not there; one that holds the same run is brought up to date. Nothing else in the
    folder goes up, and no token is written: the Hub's client reads it when it sends a request.

    Args:
        folder: The run directory.
        address: `hf://datasets/OWNER/NAME`, or `hf://datasets/NAME` for one's own.
        private: True makes a new dataset visible to its owner alone.
        licence: The licence of the results, as the Hub names it, such as cc-by-4.0.

    Returns:
        The address of the page.

    Raises:
        InputError: The folder is no run, a result is damaged or holds the token, the Hub refuses, or the dataset holds
            something else.
        FailedError: The Hub cannot be reached.
    """
    dataset = parse_address(address)
    if dataset.revision is not None:
        raise InputError(f"{address} names a revision: a run is pushed to the newest state, so leave out @...")
    run = open_run(folder)
    files = _files(run)
    with _hub_errors(address):
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token

        _check_no_token(files, get_token())
        api = HfApi()
        repository = api.create_repo(dataset.name, repo_type="dataset", private=private or None, exist_ok=True)
        there = set(api.list_repo_files(repository.repo_id, repo_type="dataset"))
        _check_same_run(api, repository.repo_id, there, run)
        contents: dict[str, Any] = dict(files) | {
            path: text.encode() for path, text in dataset_card(run, repository.repo_id, licence).items()
        }
        outdated = {path for path in there - contents.keys() if path.endswith((*SUFFIXES, ".svg"))}
        api.create_commit(
            repository.repo_id,
            [
                *(CommitOperationAdd(path, content) for path, content in contents.items()),
                *(CommitOperationDelete(path) for path in sorted(outdated)),
            ],
            commit_message=f"{len(run)} results of headcount",
            repo_type="dataset",
        )
    return str(repository)


def pull_run(address: str, folder: Path) -> Run:
    """Fetch a published run into a new folder, which appears whole or not at all.

    Args:
        address: `hf://datasets/OWNER/NAME`, with `@REVISION` for another state than the newest.
        folder: A folder that does not exist yet, or an empty one.

    Raises:
        InputError: The folder holds something, the Hub refuses, or the dataset holds no run, or a damaged one.
        FailedError: The Hub cannot be reached.
    """
    dataset = parse_address(address)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is not empty: expected a new folder for the run")

    def fill(scratch: Path, filled: Path) -> None:
        with _hub_errors(address):
            from huggingface_hub import snapshot_download

            patterns = [f"*{suffix}" for suffix in SUFFIXES]
            place = scratch / "fetched"
            snapshot_download(
                dataset.name, repo_type="dataset", revision=dataset.revision, local_dir=place, allow_patterns=patterns
            )
        if not (place / MANIFEST).is_file():
            raise InputError(f"{address} holds no run of headcount: expected {MANIFEST} in it; check the name")
        for path, source in _files(open_run(place)).items():
            (filled / path).parent.mkdir(parents=True, exist_ok=True)
            source.rename(filled / path)

    try:
        write_folder_whole(folder, MANIFEST, fill)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror}; choose a folder that can be written") from error
    return open_run(folder)


def _files(run: Run) -> dict[str, Path]:
    """The files of a run by their path in it, each of them read and checked.

    Raises:
        InputError: One is damaged, or belongs to another run.
    """
    files = {MANIFEST: run.folder / MANIFEST}
    for name in run.names:
        run.content(name)
        path = next(path for suffix in SUFFIXES if (path := run.folder / f"{name}{suffix}").is_file())
        files[path.relative_to(run.folder).as_posix()] = path
    return files


def _check_no_token(files: dict[str, Path], token: str | None) -> None:
    """Refuse to publish a file in which the Hub's token stands, such as in the command that measured a result.

    Raises:
        InputError: There is one.
    """
    for path, source in files.items() if token else ():
        if str(token).encode() in source.read_bytes():
            raise InputError(f"{path} contains your token of the Hub: nothing was sent; measure it again without")


def _check_same_run(api: Any, repository: str, there: set[str], run: Run) -> None:
    """Refuse to write over another run, or over other data.

    Raises:
        InputError: The dataset holds one of them.
    """
    if MANIFEST not in there:
        if foreign := sorted(there - {".gitattributes", "README.md"}):
            raise InputError(
                f"the dataset {repository} holds {foreign[0]} and no run of headcount: choose another name"
            )
        return
    with tempfile.TemporaryDirectory() as folder:
        api.hf_hub_download(repository, MANIFEST, repo_type="dataset", local_dir=folder)
        other = open_run(Path(folder)).manifest
    if (other["created"], other["model"]) != (run.manifest["created"], run.manifest["model"]):
        raise InputError(
            f"the dataset {repository} holds another run, of {other['model']['name']} begun {other['created']}: choose "
            "another name"
        )


@contextmanager
def _hub_errors(address: str) -> Iterator[None]:
    """Turn the errors of the Hub's client into a line of this package, and its bars off where there is no terminal.

    Raises:
        InputError: The Hub refuses the request.
        FailedError: It cannot be reached, or fails.
    """
    import httpx
    from huggingface_hub import errors
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    quiet = not sys.stderr.isatty() and not are_progress_bars_disabled()
    try:
        if quiet:
            disable_progress_bars()
        yield
    except errors.OfflineModeIsEnabled as error:
        raise FailedError(f"{address}: the Hub's client is offline; unset HF_HUB_OFFLINE to reach the Hub") from error
    except (errors.LocalTokenNotFoundError, errors.RepositoryNotFoundError, errors.GatedRepoError) as error:
        raise InputError(
            f"{address}: not there, or not yours to use; log in with hf auth login, check the name"
        ) from error
    except errors.HFValidationError as error:
        raise InputError(f"{address}: {error}") from error
    except errors.RevisionNotFoundError as error:
        raise InputError(f"{address}: there is no such revision; leave out @... for the newest state") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise InputError(
                f"{address}: the Hub refuses it ({status}); log in with hf auth login, with a token that may write"
            ) from error
        raise FailedError(f"{address}: the Hub answered {status}; try again later, finished results stay") from error
    except (httpx.HTTPError, ConnectionError, errors.LocalEntryNotFoundError) as error:
        raise FailedError(f"{address}: the Hub cannot be reached ({type(error).__name__}); try again later") from error
    finally:
        if quiet:
            enable_progress_bars()
