"""Checkpoints of a fit: files that hold what its training has come to."""

import hashlib
import io
import json
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from skmtl._validation import warn_user
from skmtl.exceptions import CheckpointWarning
from skmtl.training._state import restore, state_of

#: The form of the files; a reader refuses any other.
FORMAT = 1
#: Bytes in which the first line of a file ends.
HEADER_BYTES = 1024
#: Files kept of a fit: the newest may turn out to be damaged.
N_KEPT = 2
#: Seconds after which an unfinished file is one that a killed process has left.
ABANDONED = 600


class CheckpointError(ValueError):
    """Why a file is not used."""


class Checkpoints:
    """The checkpoints of one fit.

    Parameters
    ----------
    folder : path-like
        Where they are; those of other fits may be there, too.
    fingerprint : str
        What tells the settings and data of the fit from others; part of the names.
    every : int
        Number of epochs between two checkpoints.
    resume : bool
        Whether to go on from the newest one.
    """

    def __init__(
        self, folder: str | os.PathLike[str], fingerprint: str, every: int, resume: bool
    ) -> None:
        self.folder = Path(folder)
        self.fingerprint = fingerprint
        self.every = every
        self.resume = resume
        self._kept: list[Path] = []
        self._warned = False

    def begin(self, net: Any, batches: Any) -> int:
        """Bring a net to where the newest checkpoint is.

        Parameters
        ----------
        net : MultiTaskNet
            A net that is about to train.
        batches : Batches or MemberBatches
            What it is going to train on.

        Returns
        -------
        int
            Number of epochs that are done.
        """
        # Other processes need not see the folder.
        n_done, state = net.processes.of_main(self._newest)
        if n_done:
            restore(net, batches, state)
        return int(n_done)

    def _newest(self) -> tuple[int, dict[str, Any]]:
        """Read the newest checkpoint that can be used; zero epochs without one."""
        for path in self._files() if self.resume else []:
            try:
                found = read(path, self.fingerprint)
            except (CheckpointError, OSError) as error:
                _warn(f"The checkpoint {str(path)!r} is not used: {_reason(error)}.")
                continue
            self._kept = [path]
            return found
        return 0, {}

    def after_epoch(self, net: Any, batches: Any, n_done: int, last: bool) -> None:
        """Write a checkpoint where it is time.

        Where that fails, one warning says so, and training goes on.

        Parameters
        ----------
        net : MultiTaskNet
            The net.
        batches : Batches or MemberBatches
            What it trains on.
        n_done : int
            Number of epochs that are done.
        last : bool
            Whether training ends.
        """
        due = n_done % self.every == 0 or last
        if not due or not net.processes.is_main:
            return
        path = self.folder / f"{self.fingerprint}-{n_done:07d}.pt"
        try:
            write(path, self.fingerprint, n_done, state_of(net, batches))
            self._kept = [*(p for p in self._kept if p != path), path][-N_KEPT:]
            self._tidy()
        except (OSError, TypeError) as error:
            if not self._warned:
                _warn(
                    f"No checkpoint was written to {str(self.folder)!r}, and training "
                    f"goes on without: {_reason(error)}."
                )
            self._warned = True

    def _files(self) -> list[Path]:
        """Return the checkpoints of the fit, the newest first."""
        return sorted(self.folder.glob(f"{self.fingerprint}-*.pt"), reverse=True)

    def _tidy(self) -> None:
        """Delete all but the newest that this fit has used, and what is left over."""
        for path in self._files():
            if path not in self._kept:
                path.unlink(missing_ok=True)
        for path in self.folder.glob(f"{self.fingerprint}-*.tmp"):
            with suppress(FileNotFoundError):  # another process may be as tidy
                if time.time() - path.stat().st_mtime > ABANDONED:
                    path.unlink()


def write(path: Path, fingerprint: str, n_done: int, state: dict[str, Any]) -> None:
    """Write a checkpoint whole or not at all.

    Parameters
    ----------
    path : Path
        The file; its folder is made where there is none.
    fingerprint : str
        Which fit it belongs to.
    n_done : int
        Number of epochs that are done.
    state : dict
        Tensors and plain values.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getbuffer()
    header = {
        "skmtl checkpoint": FORMAT,
        "fingerprint": fingerprint,
        "epochs": n_done,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(".tmp", f"{path.stem}-", path.parent)
    unfinished = Path(name)
    try:
        with open(handle, "wb") as file:
            file.write(json.dumps(header).encode() + b"\n")
            file.write(content)
            file.flush()
            os.fsync(handle)
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def read(path: Path, fingerprint: str) -> tuple[int, dict[str, Any]]:
    """Read a checkpoint; nothing in it is executed.

    Parameters
    ----------
    path : Path
        The file.
    fingerprint : str
        Which fit it has to belong to.

    Returns
    -------
    n_done : int
        Number of epochs that are done.
    state : dict
        Tensors and plain values.

    Raises
    ------
    CheckpointError
        If it is damaged, or another's.
    """
    with open(path, "rb") as file:
        line, content = file.readline(HEADER_BYTES), file.read()
    try:
        header = json.loads(line)
        form, n_done = header["skmtl checkpoint"], int(header["epochs"])
        owner, checksum = header["fingerprint"], header["sha256"]
    except (ValueError, KeyError, TypeError):
        raise CheckpointError("it is no checkpoint, or its start is damaged") from None
    if form != FORMAT:
        raise CheckpointError("it was written by another version of skmtl")
    if owner != fingerprint:
        raise CheckpointError("it belongs to other settings or data")
    if hashlib.sha256(content).hexdigest() != checksum:
        raise CheckpointError("it is truncated or damaged")
    try:
        return n_done, torch.load(io.BytesIO(content), weights_only=True)
    except (UnpicklingError, RuntimeError) as error:
        raise CheckpointError("it holds more than tensors and plain values") from error


def _sync(folder: Path) -> None:
    """Let a new name survive a power failure, where folders can be opened."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return text[:1].lower() + text[1:].rstrip(".")


def _warn(sentence: str) -> None:
    warn_user(sentence, CheckpointWarning)
