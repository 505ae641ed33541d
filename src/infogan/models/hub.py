"""Models on the Hugging Face Hub: download a configuration and weights, upload a folder in one commit.

``huggingface_hub`` is an optional library, imported only when a name on the Hub is used. It handles tokens, cache and
proxies. Only two files of a repository are downloaded; neither can run code, and neither may be larger than expected.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import infogan
from infogan.data.preprocess import error_reason
from infogan.models.serialization import CONFIG, MAX_CONFIG_BYTES, README, WEIGHTS, max_weight_bytes, write_model_files
from infogan.utils.errors import UserError, import_extra

PREFIX = "hf://"  # as in huggingface_hub
COMMIT_MESSAGE = "Upload a model trained by infogan"
LIBRARY = {"library_name": "infogan", "library_version": infogan.__version__}
_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)


class HubName(NamedTuple):
    """The name of a model on the Hub.

    Attributes:
        repo_id: ``user/name``.
        revision: Branch, tag or commit; None = the main branch.
    """

    repo_id: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str, revision: str | None = None) -> "HubName":
        """Parse ``user/name``, ``hf://user/name`` or ``hf://user/name@revision``.

        Raises:
            UserError: the text has none of these forms, or there are two different revisions.

        Example:
            >>> HubName.parse("hf://user/name@v1.0")
            HubName(repo_id='user/name', revision='v1.0')
        """
        repo_id, at, suffix = text, "", ""
        if text.startswith(PREFIX):
            repo_id, at, suffix = text.removeprefix(PREFIX).partition("@")
        if not _REPO_ID.fullmatch(repo_id) or (at and not suffix):
            raise UserError(
                f"{text!r} is neither a folder nor a name on the Hub; "
                f"names are user/name, {PREFIX}user/name or {PREFIX}user/name@revision"
            )
        if suffix and revision not in (None, suffix):
            raise UserError(f"{text!r} has the revision {suffix!r}, but revision= is {revision!r}; pass only one")
        return cls(repo_id, suffix or revision)

    def __str__(self) -> str:
        return self.repo_id if self.revision is None else f"{self.repo_id}@{self.revision}"


class HubMixin:
    """Methods to share a model, with the signatures of `huggingface_hub.ModelHubMixin`.

    Not a subclass of it, because that library is optional and importing it takes time.
    """

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Load a model from a folder."""
        raise NotImplementedError

    def files(self, *, repo_id: str | None = None, license: str | None = None) -> dict[str, bytes]:
        """Return the files of a shared model folder by name."""
        raise NotImplementedError

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
    ) -> Self:
        """Load a model from a folder, or from the Hugging Face Hub, on the CPU.

        An existing folder with that name comes first. From the Hub, only ``config.json`` and ``model.safetensors`` are
        downloaded, unless they are in the cache.

        Args:
            pretrained_model_name_or_path: A folder, ``user/name``, ``hf://user/name`` or ``hf://user/name@revision``.
            revision: Branch, tag or commit; None = the main branch.
            token: Access token; None = the token of ``hf auth login``.
            cache_dir: Folder for downloaded files; None = the cache of huggingface_hub.
            local_files_only: Whether to use the cache only and make no network request.
            force_download: Whether to download files that are in the cache.

        Raises:
            UserError: as `load` and `download_model`, or a revision of a folder.

        Example:
            >>> model = InfoGAN.from_pretrained("user/digits")
        """
        name = pretrained_model_name_or_path
        if isinstance(name, Path) or Path(name).is_dir():
            if revision is not None:
                raise UserError(f"{name} is a folder and has no revision {revision!r}")
            return cls.load(Path(name))
        options: dict[str, Any] = {"local_files_only": local_files_only, "force_download": force_download}
        return cls.load(download_model(name, revision, token=token, cache_dir=cache_dir, **options))

    def save_pretrained(
        self,
        save_directory: str | Path,
        *,
        push_to_hub: bool = False,
        repo_id: str | None = None,
        license: str | None = None,
        **push_to_hub_kwargs: Any,
    ) -> str | None:
        """Write a model folder with a model card and its figures, for `load` and `from_pretrained`.

        Args:
            save_directory: Folder to write. An existing ``README.md`` stays as it is; remove it to have it rewritten.
            push_to_hub: Whether to commit the same files to the Hub.
            repo_id: Name on the Hub, ``user/name``.
            license: Short name of the license for the card, such as ``mit``.
            push_to_hub_kwargs: As for `push_to_hub`.

        Returns:
            The address of the commit, if there is one.

        Raises:
            UserError: as `files` and `upload`, the folder is not writable, or ``push_to_hub`` without ``repo_id``.

        Example:
            >>> model.save_pretrained("digits", repo_id="user/digits", license="mit")
        """
        if push_to_hub and repo_id is None:
            raise UserError("push_to_hub=True needs a name on the Hub: pass repo_id='user/name'")
        folder, files = Path(save_directory), self.files(repo_id=repo_id, license=license)
        write_model_files(folder, files)
        if repo_id is None or not push_to_hub:
            return None
        files[README] = (folder / README).read_bytes()
        return upload(repo_id, files, **push_to_hub_kwargs)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str = COMMIT_MESSAGE,
        private: bool | None = None,
        token: str | bool | None = None,
        branch: str | None = None,
        create_pr: bool | None = None,
        license: str | None = None,
    ) -> str:
        """Commit the model, its card and the card's figures to the Hugging Face Hub.

        Args:
            repo_id: Name on the Hub, ``user/name``. The repository is created if it does not exist.
            commit_message: Summary of the change, one line.
            private: Whether only the user can see the repository; None = the Hub's default.
            token: Access token; None = the token of ``hf auth login``.
            branch: Branch to commit to; None = the main branch.
            create_pr: Whether to open a pull request instead of committing.
            license: Short name of the license for the card, such as ``mit``.

        Returns:
            The address of the commit or of the pull request.

        Raises:
            UserError: as `files` and `upload`.

        Example:
            >>> model.push_to_hub("user/digits", private=True)
        """
        files = self.files(repo_id=repo_id, license=license)
        commit: dict[str, Any] = {"commit_message": commit_message, "create_pr": create_pr}
        return upload(repo_id, files, private=private, token=token, branch=branch, **commit)


def check_repo_id(repo_id: str | None) -> None:
    """Raise UserError unless ``repo_id`` has the form ``user/name`` or is None."""
    if repo_id is not None and not _REPO_ID.fullmatch(repo_id):
        raise UserError(f"{repo_id!r} is not a name on the Hub; names have the form user/name")


def download_model(text: str, revision: str | None = None, **options: Any) -> Path:
    """Download the configuration and the weights of a model, unless they are in the cache.

    Args:
        text: ``user/name``, ``hf://user/name`` or ``hf://user/name@revision``.
        revision: Branch, tag or commit; None = the main branch.
        options: As for `huggingface_hub.hf_hub_download`.

    Returns:
        The folder in the cache that holds both files, of one commit.

    Raises:
        UserError: the name looks like a path that does not exist; there is no such model, revision or file; a file is
            too large; the Hub cannot be reached or denies access; or huggingface_hub is not installed.
    """
    name = HubName.parse(text, revision)
    parent = Path(text).parent
    if not text.startswith(PREFIX) and parent.is_dir():
        raise UserError(
            f"there is no {Path(text).name} in the folder {parent}; use {PREFIX}{text} for the model on the Hub"
        )
    folder = _download(name, CONFIG, MAX_CONFIG_BYTES, **options).parent
    # The folder is named after the commit, so that the weights match even if the branch has moved on.
    commit = name._replace(revision=folder.name)
    _download(commit, WEIGHTS, max_weight_bytes(folder), **options)
    return folder


def _download(name: HubName, file: str, max_bytes: int, **options: Any) -> Path:
    """Return the path of a file in the cache; its size is checked before the download."""
    download = partial(
        _huggingface_hub().hf_hub_download, name.repo_id, file, revision=name.revision, **options, **LIBRARY
    )
    with _explain_errors(str(name), file):
        size = download(dry_run=True).file_size or 0
        if size > max_bytes:
            raise UserError(f"{file} of {name} on the Hub has {size} bytes; the maximum for this model is {max_bytes}")
        return Path(download())


def upload(
    repo_id: str,
    files: Mapping[str, bytes],
    *,
    private: bool | None = None,
    token: str | bool | None = None,
    branch: str | None = None,
    **commit: Any,
) -> str:
    """Commit files to a model's repository in one commit; the repository is created if it does not exist.

    Args:
        repo_id: ``user/name``.
        files: Contents by file name.
        private: Whether only the user can see the repository; None = the Hub's default.
        token: Access token; None = the token of ``hf auth login``.
        branch: Branch to commit to; None = the main branch.
        commit: Summary of the change and more, as for `huggingface_hub.HfApi.create_commit`.

    Returns:
        The address of the commit or of the pull request.

    Raises:
        UserError: the Hub cannot be reached or denies access; ``private`` is set and the repository is public; or
            huggingface_hub is not installed.
    """
    library = _huggingface_hub()
    with _explain_errors(repo_id):
        api = library.HfApi(token=token, **LIBRARY)
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        # The Hub does not change the visibility of an existing repository.
        if private and not api.model_info(repo_id).private:
            raise UserError(f"{repo_id} exists on the Hub and is public; make it private there first")
        operations = [library.CommitOperationAdd(path_in_repo=name, path_or_fileobj=files[name]) for name in files]
        commit = {"commit_message": COMMIT_MESSAGE, **commit}
        result = api.create_commit(repo_id, operations, revision=branch, **commit)
        return str(result.pr_url or result.commit_url)


def _huggingface_hub() -> Any:
    return import_extra("huggingface_hub", "hub", "models on the Hugging Face Hub need")


@contextmanager
def _explain_errors(name: str, file: str = "") -> Iterator[None]:
    """Turn errors of huggingface_hub and its HTTP client into a UserError of one line."""
    from huggingface_hub import errors

    try:
        with _without_warnings():
            yield
    except UserError:
        raise
    except Exception as error:
        # The HTTP client, whose errors have no other base class than Exception, depends on the version.
        library = type(error).__module__.partition(".")[0]
        if library == "builtins" and not isinstance(error, (OSError, ValueError, RuntimeError)):
            raise  # a bug
        cause: Any = error.__cause__ if isinstance(error, errors.LocalEntryNotFoundError) else None
        reason = error_reason(cause or error)
        explanations = {  # subclasses first
            errors.GatedRepoError: f"access to {name} on the Hub is restricted; request it on the model's page",
            errors.RepositoryNotFoundError: f"there is no model {name} on the Hub that you can access: check the name; "
            "if it is private, log in with `hf auth login` or pass a token",
            errors.RevisionNotFoundError: f"there is no revision {name} on the Hub",
            errors.LocalEntryNotFoundError: f"{name} is not in the cache, and the Hub was not reached ({reason}): "
            "check the network",
            errors.EntryNotFoundError: f"{name} on the Hub is not an infogan model: it has no {file}",
        }
        matches = (explanation for kind, explanation in explanations.items() if isinstance(error, kind))
        status = getattr(getattr(error, "response", None), "status_code", None)
        denied = f"the Hub denies access to {name}: log in with `hf auth login` or pass a token with write access"
        advice = "" if library in ("builtins", "huggingface_hub") else ": check the network"
        failed = f"the request to the Hub for {name} failed ({reason}){advice}"
        raise UserError(next(matches, denied if status in (401, 403) else failed)) from error


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Keep huggingface_hub from logging each of its attempts to reach the Hub."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(max(level, logging.ERROR))
    try:
        yield
    finally:
        logger.setLevel(level)
