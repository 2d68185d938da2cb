"""Checkpoints of a fit: files that hold what its training has come to."""

import hashlib
import io
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from skmtl._core.atomic_file import remove_abandoned, replace_file
from skmtl._core.validation import warn_user
from skmtl.exceptions import CheckpointWarning
from skmtl.training._check_state import check_state
from skmtl.training._training_state import from_plain, get_training_state, restore

if TYPE_CHECKING:
    from skmtl.training._net import MultiTaskNet

#: The form of the files; a reader refuses any other.
FORMAT = 2
#: Bytes in which the first line of a file ends.
HEADER_BYTES = 1024
#: Bytes at the end of a file: the checksum of all bytes before, in hexadecimal digits.
CHECKSUM_BYTES = 64
#: Files kept of a fit: the newest may turn out to be damaged.
N_KEPT = 2


class CheckpointError(ValueError):
    """Why a file is not used."""


class Checkpoints:
    """The checkpoints of one fit."""

    def __init__(
        self, folder: str | os.PathLike[str], fingerprint: str, every: int, resume: bool
    ) -> None:
        self.folder = Path(folder)
        self.fingerprint = fingerprint
        self.every = every
        self.resume = resume
        self._kept: list[Path] = []
        self._warned = False

    def begin(self, net: "MultiTaskNet", batches: Any, epochs: int) -> int:
        """Bring a net to where the newest checkpoint is."""
        # Other processes need not see the folder.
        n_done, state = net.processes.broadcast_object(
            lambda: self._find_newest(net, epochs)
        )
        if n_done:
            try:
                restore(net, batches, state)
            except Exception as error:
                raise CheckpointError(
                    f"The newest checkpoint in {str(self.folder)!r} cannot be resumed "
                    f"from ({error or type(error).__name__}): delete it, or fit "
                    "without resume."
                ) from error
        return int(n_done)

    def _find_newest(
        self, net: "MultiTaskNet", epochs: int
    ) -> tuple[int, dict[str, Any]]:
        """Read the newest checkpoint that can be used; zero epochs without one."""
        for path in self._list_files() if self.resume else []:
            try:
                n_done, state = read(path, self.fingerprint, epochs)
                check_state(net, from_plain(state), n_done)
            except (CheckpointError, OSError) as error:
                _warn(f"The checkpoint {str(path)!r} is not used: {_explain(error)}.")
                continue
            except Exception:  # noqa: BLE001 -- a state may hold anything
                _warn(
                    f"The checkpoint {str(path)!r} is not used: its state is not one "
                    "of this fit."
                )
                continue
            self._kept = [path]
            return n_done, state
        return 0, {}

    def after_epoch(
        self, net: "MultiTaskNet", batches: Any, n_done: int, last: bool
    ) -> None:
        """Write a checkpoint where it is time."""
        # Where that fails, one warning says so, and training goes on.
        due = n_done % self.every == 0 or last
        if not due or not net.processes.is_main:
            return
        path = self.folder / f"{self.fingerprint}-{n_done:07d}.pt"
        try:
            write(path, self.fingerprint, n_done, get_training_state(net, batches))
            self._kept = [*(p for p in self._kept if p != path), path][-N_KEPT:]
            self._remove_old()
        except (OSError, TypeError) as error:
            if not self._warned:
                _warn(
                    f"No checkpoint was written to {str(self.folder)!r}, and training "
                    f"goes on without: {_explain(error)}."
                )
            self._warned = True

    def describe_resuming(self) -> str:
        """Return in one sentence from where an interrupted fit goes on."""
        if not self._kept:
            return (
                f"Training was interrupted before its first checkpoint, which is "
                f"written after epoch {self.every} (checkpoint_every)."
            )
        n_done = int(self._kept[-1].stem.rpartition("-")[2])
        return (
            f"Training was interrupted; fit with the same parameters and data and with "
            f"resume='auto' goes on after epoch {n_done}, from the last checkpoint in "
            f"{str(self.folder)!r}."
        )

    def _list_files(self) -> list[Path]:
        """Return the checkpoints of the fit, the newest first."""
        paths = self.folder.glob(f"{self.fingerprint}-*.pt")
        return sorted((path for path in paths if path.is_file()), reverse=True)

    def _remove_old(self) -> None:
        """Delete all but the newest that this fit has used, and what is left over."""
        for path in self._list_files():
            if path not in self._kept:
                path.unlink(missing_ok=True)
        remove_abandoned(self.folder, rf"{re.escape(self.fingerprint)}-\d+\.pt")


def write(path: Path, fingerprint: str, n_done: int, state: dict[str, Any]) -> None:
    """Write a checkpoint atomically."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getbuffer()
    header = {
        "skmtl checkpoint": FORMAT,
        "fingerprint": fingerprint,
        "epochs": n_done,
    }
    line = json.dumps(header).encode() + b"\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(path) as temporary, open(temporary, "wb") as file:
        file.write(line)
        file.write(content)
        file.write(_compute_checksum(line, content))


def read(path: Path, fingerprint: str, epochs: int) -> tuple[int, dict[str, Any]]:
    """Read a checkpoint; nothing in it is executed."""
    with open(path, "rb") as file:
        line, content = file.readline(HEADER_BYTES), file.read()
    try:
        header = json.loads(line)
        form, n_done = header["skmtl checkpoint"], header["epochs"]
        owner = header["fingerprint"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise CheckpointError("it is no checkpoint, or its start is damaged") from None
    if form != FORMAT:
        raise CheckpointError("it was written by another version of skmtl")
    if owner != fingerprint:
        raise CheckpointError("it belongs to other settings or data")
    content, checksum = content[:-CHECKSUM_BYTES], content[-CHECKSUM_BYTES:]
    if _compute_checksum(line, content) != checksum:
        raise CheckpointError("it is truncated or damaged")
    if type(n_done) is not int or not 1 <= n_done <= epochs:
        raise CheckpointError(f"it is of epoch {n_done!r}, and the fit has {epochs}")
    try:
        state = torch.load(io.BytesIO(content), weights_only=True)
    except Exception as error:
        raise CheckpointError("it holds more than tensors and plain values") from error
    return n_done, state


def _compute_checksum(line: bytes, content: bytes | memoryview) -> bytes:
    checksum = hashlib.sha256(line)
    checksum.update(content)
    return checksum.hexdigest().encode()


def _explain(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return text[:1].lower() + text[1:].rstrip(".")


def _warn(sentence: str) -> None:
    warn_user(sentence, CheckpointWarning)
