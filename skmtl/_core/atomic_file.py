"""Writes files atomically: a file is complete, or the one before stays as it is."""

import errno
import hashlib
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

#: Seconds after which a temporary file is one that a killed process has left.
ABANDONED = 600
#: Bytes of a name beside which the random part of a temporary name has room.
NAME_BYTES = 200
#: What a path can lead to beside a regular file and a folder.
KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def resolve_target(path: str | os.PathLike[str]) -> Path:
    """Return the regular file that a path leads to, which need not exist yet."""
    target = Path(os.path.realpath(path))
    try:
        mode = os.stat(path).st_mode  # not of the target: /dev/stdout has no path
    except FileNotFoundError:
        if target.parent.is_dir():
            return target
        raise FileNotFoundError(
            f"Cannot write {str(path)!r}: the folder {str(target.parent)!r} does not "
            "exist. Make it first, or give another path."
        ) from None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(
            f"Cannot write {str(path)!r}: it is a folder. Give the path of a file."
        )
    if not stat.S_ISREG(mode):
        kind = KINDS.get(stat.S_IFMT(mode), "no regular file")
        raise OSError(
            f"Cannot write {str(path)!r}: it is {kind}. Give the path of a regular "
            "file, or of one that does not exist yet."
        )
    return target


@contextmanager
def replace_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary file that replaces a file once it is complete."""
    # The mode of a file that is replaced is kept, and its owner where the process may
    # set it. A symbolic link is kept, and the file that it leads to replaced.
    target = resolve_target(path)
    remove_abandoned(target.parent, re.escape(_get_stem(target.name)))
    temporary = target.with_name(f".{_get_stem(target.name)}.{secrets.token_hex(8)}")
    try:
        access = _create(temporary, target)
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        _set_access(temporary, *access)
        temporary.replace(target)
        _sync_folder(target.parent)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise


def remove_abandoned(folder: Path, name: str) -> None:
    """Delete temporary files that killed processes have left."""
    pattern = re.compile(rf"\.{name}\.[0-9a-f]{{16}}")
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if not pattern.fullmatch(entry.name):
                continue
            with suppress(OSError):  # another process may delete it at the same time
                status = entry.stat(follow_symlinks=False)
                old = time.time() - status.st_mtime > ABANDONED
                if old and stat.S_ISREG(status.st_mode):
                    os.unlink(entry.path)


def _get_stem(name: str) -> str:
    """Return a name that leaves room for more, as file systems limit its bytes."""
    octets = os.fsencode(name)
    return name if len(octets) <= NAME_BYTES else hashlib.sha256(octets).hexdigest()


def _create(temporary: Path, target: Path) -> tuple[int, os.stat_result | None]:
    """Make an empty file; return the mode to end with, and what it replaces."""
    try:
        replaced = target.stat()
    except FileNotFoundError:
        replaced = None
    mode = 0o666 if replaced is None else 0o600  # no one may read more meanwhile
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        created = os.fstat(handle)
    finally:
        os.close(handle)
    return stat.S_IMODE((replaced or created).st_mode), replaced


def _set_access(temporary: Path, mode: int, replaced: os.stat_result | None) -> None:
    """Set the mode of a file, and the owner and group of the file that it replaces."""
    if replaced is not None and hasattr(os, "chown"):
        created = temporary.stat()
        if (created.st_uid, created.st_gid) != (replaced.st_uid, replaced.st_gid):
            for owner in (replaced.st_uid, -1):  # -1: the process stays the owner
                with suppress(PermissionError):
                    os.chown(temporary, owner, replaced.st_gid)
                    break
            else:
                mode &= ~stat.S_IRWXG  # which were the rights of another group
    temporary.chmod(mode)


def _sync_folder(folder: Path) -> None:
    """Make a new name survive a power failure, where folders can be opened."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno != errno.EINVAL:  # of file systems without it
                raise
        finally:
            os.close(handle)
