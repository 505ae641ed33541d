"""Models on the Hugging Face Hub: from a name there to a file here, and from files to one commit there.

Of a model's repository two files are fetched, its configuration and its weights, neither of which can run code, and of
neither more bytes than the caller allows. Everything is asked of ``huggingface_hub``, which knows the user's token,
cache and proxies; nothing here is reached unless a name is asked for.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import infogan
from infogan.utils.errors import UserError

PREFIX = "hf://"  # as huggingface_hub itself writes what is there
LIBRARY = {"library_name": "infogan", "library_version": infogan.__version__}
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)


@dataclass(frozen=True)
class HubName:
    """A model on the Hub.

    Attributes:
        repo_id: ``user/name``.
        revision: A branch, tag or commit; None = the main branch.
    """

    repo_id: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str, revision: str | None = None) -> "HubName":
        """``hf://user/name``, ``hf://user/name@revision`` or, with the revision apart, ``user/name``.

        Raises:
            UserError: it is none of these, or two revisions are named.
        """
        name, at, said = text.removeprefix(PREFIX).partition("@") if text.startswith(PREFIX) else (text, "", "")
        if not _NAME.fullmatch(name) or (at and not said):
            form = f"{PREFIX}user/name or {PREFIX}user/name@revision"
            raise UserError(f"{text!r} is neither a folder nor a name on the Hub such as user/name, {form}")
        if said and revision not in (None, said):
            raise UserError(f"{text!r} names the revision {said!r}, and revision= another one, {revision!r}")
        return cls(name, said or revision)

    @classmethod
    def checked(cls, repo_id: str) -> "HubName":
        """``user/name``, with nothing before or after it; raises UserError where it is another thing."""
        if not _NAME.fullmatch(repo_id):
            raise UserError(f"a model is called user/name on the Hub, not {repo_id!r}")
        return cls(repo_id)

    def __str__(self) -> str:
        return self.repo_id if self.revision is None else f"{self.repo_id}@{self.revision}"


def fetch(
    name: HubName,
    file: str,
    most: int,
    *,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
) -> Path:
    """A file of a model, from the cache where it is there already.

    Args:
        name: Of the model.
        file: Of the file.
        most: Bytes that it may have.
        token: As `huggingface_hub.hf_hub_download` takes it, and so are the others.
        cache_dir: Where fetched files are kept.
        local_files_only: Whether to look into the cache alone.
        force_download: Whether to fetch what is in the cache already.

    Returns:
        Its path in the cache; the folder is named after the commit.

    Raises:
        UserError: no such model, revision or file; it is too large; the Hub can not be reached or refuses; or
            huggingface_hub is not installed.
    """
    get = partial(
        _library().hf_hub_download,
        name.repo_id,
        file,
        revision=name.revision,
        token=token,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
        force_download=force_download,
        **LIBRARY,
    )
    with _in_words(str(name), file):
        size = get(dry_run=True).file_size or 0
        if size > most:
            raise UserError(f"{file} of {name} on the Hub has {size} bytes, which is more than the {most} that it can")
        return Path(get())


def upload(
    repo_id: str,
    files: Mapping[str, bytes],
    *,
    commit_message: str,
    private: bool | None = None,
    token: str | bool | None = None,
    branch: str | None = None,
    create_pr: bool | None = None,
) -> str:
    """Commits files to a model's repository, all or none of them; it is made if there is none.

    Args:
        repo_id: ``user/name``.
        files: By name.
        commit_message: A line that says what changed.
        private: Whether only the user may see the repository; None = as the Hub has it.
        token: As `huggingface_hub.HfApi` takes it; None = that of ``hf auth login``.
        branch: To commit to; None = the main branch.
        create_pr: Whether to propose the commit instead of making it.

    Returns:
        The address of the commit, or of the proposal.

    Raises:
        UserError: the Hub can not be reached or refuses; a repository that is to be private is there and is not; or
            huggingface_hub is not installed.
    """
    library = _library()
    with _in_words(repo_id):
        api = library.HfApi(token=token, **LIBRARY)
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        # Of a repository that is there already the Hub leaves that as it is.
        if private and not api.model_info(repo_id).private:
            raise UserError(f"{repo_id} is on the Hub already, and everyone can see it: make it private there first")
        added = [library.CommitOperationAdd(path_in_repo=name, path_or_fileobj=files[name]) for name in files]
        done = api.create_commit(repo_id, added, commit_message=commit_message, revision=branch, create_pr=create_pr)
        return str(done.pr_url or done.commit_url)


def _library() -> Any:
    try:
        import huggingface_hub
    except ModuleNotFoundError as error:
        raise UserError("models on the Hugging Face Hub need another library: pip install 'infogan[hub]'") from error
    module: ModuleType = huggingface_hub
    return module


@contextmanager
def _in_words(what: str, file: str = "") -> Iterator[None]:
    """Says in a sentence what the Hub, or the way to it, did not allow."""
    from huggingface_hub import errors

    client_error: Any = errors.HfHubHTTPError.__base__  # of its HTTP client, whichever this version uses
    try:
        yield
    except UserError:
        raise
    except errors.GatedRepoError as error:
        raise UserError(f"{what} on the Hub is given to those who ask: do so on its page, and log in here") from error
    except errors.RepositoryNotFoundError as error:
        login = "if it is private, log in with `hf auth login` or pass a token"
        raise UserError(f"there is no model {what} on the Hub for you: check the name, or {login}") from error
    except errors.RevisionNotFoundError as error:
        raise UserError(f"there is no revision {what} on the Hub") from error
    except errors.LocalEntryNotFoundError as error:
        reason = error.__cause__ or "only what was fetched before is looked at"
        raise UserError(f"{what} was not fetched before, and the Hub is out of reach: {_said(reason)}") from error
    except errors.EntryNotFoundError as error:
        raise UserError(f"{what} on the Hub is no infogan model: it has no {file}") from error
    except (OSError, ValueError, RuntimeError, client_error) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403):
            way = "log in with `hf auth login`, or pass a token that may"
            raise UserError(f"the Hub does not let you do that with {what}: {way}") from error
        raise UserError(f"the Hub did not do that with {what}: {_said(error)}") from error


def _said(error: object) -> str:
    """What an error says, on one line of some length."""
    return " ".join(str(error).split())[:300] or type(error).__name__
