"""A safetensors file with a checksum of all its bytes."""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from skmtl._core.atomic_file import replace_file
from skmtl._estimators.persistence.allocation_limit import check_json
from skmtl.exceptions import ModelFileError

#: What files say they are, and the only version of them so far.
FORMAT, VERSION = "skmtl", "1"
#: The tensor of bytes that holds what is no tensor, as JSON.
DOCUMENT = "document"
#: Bytes of a header at most, as in safetensors.
HEADER_BYTES = 100_000_000
CHUNK = 2**20
#: Where an error of safetensors has that of the operating system.
OS_ERROR = re.compile(r"\(os error (\d+)\)|Os \{ code: (\d+)")
#: Where a header has the checksum; quotes inside of its values are escaped.
DIGEST = re.compile(rb'"sha256":"([0-9a-f]{64})"')
UNKNOWN_DIGEST = "0" * 64

Header = dict[str, Any]


def write(path: Path, document: Any, tensors: dict[str, Tensor]) -> None:
    """Write a file, whole or not at all."""
    safetensors = _import_safetensors("skmtl.save")
    text = json.dumps(document, allow_nan=False).encode()
    metadata = {"format": FORMAT, "version": VERSION, "sha256": UNKNOWN_DIGEST}
    whole = {DOCUMENT: torch.frombuffer(bytearray(text), dtype=torch.uint8), **tensors}
    with replace_file(path) as temporary:
        try:
            safetensors.torch.save_file(whole, temporary, metadata)
        except safetensors.SafetensorError as error:
            raise _make_disk_error(error) from error
        with open(temporary, "r+b") as file:
            place, _ = _find_digest(_make_header(file, temporary))
            digest = _compute_digest(file, place)
            file.seek(place)
            file.write(digest.encode())


def read(path: Path) -> tuple[Any, dict[str, Tensor]]:
    """Read a file after checking its version, its checksum and its sizes."""
    # Nothing larger than its header is held in memory before.
    safetensors = _import_safetensors("skmtl.load")
    if path.is_fifo():  # to open it is to wait for who writes
        raise _make_foreign_error(path)
    with open(path, "rb") as file:
        head = _make_header(file, path)
        _check_version(_read_metadata(head, path), path)
        place, expected = _find_digest(head)
        if place is None or _compute_digest(file, place) != expected:
            raise ModelFileError(
                f"{str(path)!r} is damaged: its checksum is not that of what it holds. "
                "Get another copy of it."
            )
    try:
        with safetensors.safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        text = tensors.pop(DOCUMENT).numpy().tobytes()
        check_json(text)
        document = json.loads(text)
    except RecursionError:
        raise ModelFileError(
            f"{str(path)!r} holds no model that this version of skmtl can build: its "
            "objects lie too deep in each other."
        ) from None
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise _make_foreign_error(path) from error
    return document, tensors


def _make_header(file: BinaryIO, path: Path) -> bytes:
    """Return the length of the header and the header."""
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(size - 8, HEADER_BYTES):
        raise _make_foreign_error(path)
    file.seek(0)
    return file.read(8 + length)


def _read_metadata(head: bytes, path: Path) -> dict[str, str]:
    try:
        check_json(head[8:])
        metadata = json.loads(head[8:])["__metadata__"]
        if metadata["format"] == FORMAT:
            return {name: str(metadata[name]) for name in ("version", "sha256")}
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise _make_foreign_error(path) from error
    raise _make_foreign_error(path)


def _check_version(metadata: dict[str, str], path: Path) -> None:
    if metadata["version"] != VERSION:
        raise ModelFileError(
            f"{str(path)!r} has version {metadata['version'][:20]!r} of the format, of "
            f"which this skmtl knows version {VERSION}: load it with the skmtl that "
            "wrote it, or a newer one."
        )


def _find_digest(head: bytes) -> tuple[Any, str]:
    """Return where the checksum stands in a file, and what it is."""
    digests = list(DIGEST.finditer(head))
    if len(digests) != 1:
        return None, ""
    return digests[0].start(1), digests[0].group(1).decode()


def _compute_digest(file: BinaryIO, place: int) -> str:
    """Return the checksum of a file with zeros in place of the checksum."""
    digest = hashlib.sha256()
    file.seek(0)
    digest.update(file.read(place))
    digest.update(UNKNOWN_DIGEST.encode())
    file.seek(place + len(UNKNOWN_DIGEST))
    for chunk in _iterate_chunks(file):
        digest.update(chunk)
    return digest.hexdigest()


def _iterate_chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(CHUNK):
        yield chunk


def _make_disk_error(error: Exception) -> OSError:
    """Return the error of the operating system that safetensors has met."""
    code = OS_ERROR.search(str(error))
    return OSError(int(code[1] or code[2]), str(error)) if code else OSError(str(error))


def _make_foreign_error(path: Path) -> ModelFileError:
    return ModelFileError(
        f"{str(path)!r} is no file of skmtl.save, or its beginning is damaged: give "
        "a file that skmtl.save has written."
    )


def _import_safetensors(who: str) -> Any:
    try:
        import safetensors.torch
    except ImportError as error:
        raise ImportError(
            f"{who} needs safetensors: install it with `pip install 'skmtl[files]'`."
        ) from error
    return safetensors
