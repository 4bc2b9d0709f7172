"""Frozen code: a copy of the working tree, named by its content, that a study's jobs run from."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from agent.contract.config import CONFIGS
from agent.contract.files import write_json
from agent.contract.ownership import OTHERS_WRITE, make_private, refuse_foreign_files
from agent.contract.words import ConfigError
from harness.command import SubmissionError

ROOT = CONFIGS.parent
PACKAGES = ("agent", "harness", "analysis", "configs", "slurm", "scores", "examples")
MANIFEST = "snapshot.json"  # agent/run/provenance.py reads it
LARGEST_MB = 100
# What keys and passwords are usually kept in; where git tracks such a file, its owner has decided already.
SECRET_FILE = re.compile(
    r"\.env(\..+)?|.+\.(pem|key|p12|pfx|kdbx|env)|id_(rsa|dsa|ecdsa|ed25519)|\.?(netrc|pypirc|pgpass|htpasswd)"
    r"|\.?(git-)?(credentials?|secrets?)(\.(?!py$)\w+)?|.*(token|passw(or)?d|api_?key)s?(\.(txt|json|ya?ml|toml|ini))?",
    re.IGNORECASE,
)
# By these names jobs and pools are started from frozen code: an interface between versions, which a test holds.
STARTED_BY = ("harness.job.worker", "harness.backend.pool")


@dataclass(frozen=True)
class Tree:
    """The identity of a copy: its content's hash, the commit it was made from, and a hash of what was not committed.

    `dirty` is "" for a clean checkout; both are None outside a git checkout.
    """

    code_tree: str
    files: int
    git_sha: str | None
    dirty: str | None


def _git(root: Path, *words: str) -> str | None:
    """Return what git says, None when there is no git or no repository."""
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="surrogateescape") if done.returncode == 0 else None


def startable(code: Path) -> bool:
    """Return whether this version can start jobs from a frozen copy: one made by another may have other names."""
    there = [(code / name.replace(".", "/")).with_suffix(".py").is_file() for name in STARTED_BY]
    return (
        all(there) or not (code / "harness").is_dir()
    )  # without a harness it is no copy of ours, and its job will say so


def is_checkout(root: Path) -> bool:
    """Return whether the folder itself, not one above it, is the top of a git checkout."""
    top = _git(root, "rev-parse", "--show-toplevel")
    return top is not None and Path(top.strip()).resolve() == root.resolve()


def list_files(root: Path, leave_out: Iterable[Path] = ()) -> list[str]:
    """Return the relative paths of the tree's files, sorted: tracked, modified and untracked-not-ignored ones.

    Outside a git checkout (an installed package, or no git on this machine) the packages' own files are listed.
    `leave_out` names folders that are never part of it, such as the runs folder.
    """
    names, untracked = _listed(root, "--cached"), _listed(root, "--others", "--exclude-standard")
    if names is not None and untracked is not None:
        names |= untracked
    else:
        found = (path for package in PACKAGES for path in (root / package).rglob("*"))
        names = {str(path.relative_to(root)) for path in found if "__pycache__" not in path.parts}
    outside = [folder.resolve() for folder in leave_out]
    kept = [name for name in sorted(names) if (root / name).is_file() and not _inside(root / name, outside)]
    for name in kept:
        size = (root / name).stat().st_size / 2**20
        if size > LARGEST_MB:
            raise ConfigError(
                f"{root / name}: {size:.0f} MB would be copied with the code (at most {LARGEST_MB}); "
                "add it to .gitignore or move it"
            )
        if untracked and name in untracked and SECRET_FILE.fullmatch(Path(name).name):
            raise ConfigError(
                f"{root / name}: looks like a secret and would be copied with the code; add it to .gitignore or move it"
            )
    return kept


def _listed(root: Path, *what: str) -> set[str] | None:
    listed = _git(root, "ls-files", "-z", *what) if is_checkout(root) else None
    return None if listed is None else {name for name in listed.split("\0") if name}


def _inside(path: Path, folders: Iterable[Path]) -> bool:
    absolute = Path(os.path.abspath(path))
    return any(absolute.is_relative_to(folder) for folder in folders)


def _entry(name: str, content: bytes) -> bytes:
    """Return a file's part in the tree's hash: its name, whether it can be executed, and what is in it."""
    executable = int(os.access(ROOT / name, os.X_OK))
    return f"{name}\0{executable}\0{hashlib.sha256(content).hexdigest()}\n".encode(errors="surrogateescape")


def describe(leave_out: Iterable[Path] = ()) -> tuple[Tree, list[str]]:
    """Return the identity of the working tree as it is now, and its files."""
    root = ROOT
    names = list_files(root, leave_out)
    digest = hashlib.sha256()
    for name in names:
        digest.update(_entry(name, (root / name).read_bytes()))
    sha = dirty = None
    if is_checkout(root):
        sha = (_git(root, "rev-parse", "--verify", "-q", "HEAD") or "").strip() or None
        changes = _git(root, "status", "--porcelain", "-z") or ""
        difference = (_git(root, "diff", "HEAD") or "") + changes
        dirty = hashlib.sha256(difference.encode(errors="surrogateescape")).hexdigest()[:16] if changes else ""
    return Tree(digest.hexdigest()[:16], len(names), sha, dirty), names


def freeze(store: Path, tree: Tree, names: Iterable[str]) -> Path:
    """Return the folder in the store that holds the tree, copying the files there unless it is there already.

    Two processes may freeze the same tree at once: the copy is made aside and renamed into place.
    Raises: SubmissionError when a file is no longer what it was when the tree was described.
    """
    folder = store / tree.code_tree
    if folder.is_dir():
        refuse_foreign_files(folder, deep=True)
        return folder
    make_private(store)
    aside = store / f".{tree.code_tree}.{uuid.uuid4().hex[:8]}"
    try:
        if _copy(names, aside) != tree.code_tree:
            raise SubmissionError(f"{ROOT}: the code was changed while it was being copied; run the same command again")
        write_json(aside / MANIFEST, {**asdict(tree), "created": time.time()})
        try:
            aside.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was quicker
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def _copy(names: Iterable[str], target: Path) -> str:
    """Copy the tree's files and return the hash of what was copied, "" when one is gone."""
    digest = hashlib.sha256()
    for name in names:
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            content = (ROOT / name).read_bytes()
            copy.write_bytes(content)
            shutil.copystat(ROOT / name, copy)
            copy.chmod(copy.stat().st_mode & ~OTHERS_WRITE)
            digest.update(_entry(name, content))
        except FileNotFoundError:
            return ""
    return digest.hexdigest()[:16]
