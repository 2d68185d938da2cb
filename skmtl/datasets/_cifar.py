"""CIFAR-10 from its archives on disk."""

import io
import pickle
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import get_data_home
from sklearn.utils import Bunch

from skmtl._core.validation import StrOptions, validate_params

SHAPE = (3, 32, 32)
N_PIXELS = 3 * 32 * 32
N_CLASSES = 10
MAX_RECORDS = 10_000  # per file
#: Nothing in the archives is larger: a record has a byte of label and, in the Python
#: version, the name of a file.
MAX_BYTES = MAX_RECORDS * (N_PIXELS + 128)

#: Names of the batches, without the ending of the binary version.
BATCHES = {
    "train": [f"data_batch_{i}" for i in range(1, 6)],
    "test": ["test_batch"],
}
BATCHES["all"] = BATCHES["train"] + BATCHES["test"]

PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
DESCR = f"""CIFAR-10: 32 x 32 colour images of ten classes.

A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", University of
Toronto, 2009. {PAGE}
"""

Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]


@validate_params(
    {
        "data_home": [str, PathLike, None],
        "subset": [StrOptions({"train", "test", "all"})],
        "return_X_y": ["boolean"],
    },
    prefer_skip_nested_validation=True,
)
def load_cifar10(
    data_home: Any = None, *, subset: str = "train", return_X_y: bool = False
) -> Any:
    """Load the CIFAR-10 images from disk: 32 x 32 pixels, ten classes.

    The data set is that of [1]_.

    Nothing is downloaded. Get ``cifar-10-binary.tar.gz`` or ``cifar-10-python.tar.gz``
    from the CIFAR-10 page of Alex Krizhevsky at the University of Toronto,
    https://www.cs.toronto.edu/~kriz/cifar.html, and put it into ``data_home``, as it is
    or extracted.

    The structure of the files is checked. The Python version holds pickles, which can
    run any code: only arrays and plain containers are read from them.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder that holds the archive or the folder it extracts to. The default is
        ``cifar10`` in `sklearn.datasets.get_data_home`, which is
        ``~/scikit_learn_data`` unless set otherwise.
    subset : {"train", "test", "all"}, default="train"
        The 50,000 images for training, the 10,000 for testing, or both in this order.
    return_X_y : bool, default=False
        Whether to return ``(data, target)`` alone.

    Returns
    -------
    data : `sklearn.utils.Bunch`
        With these attributes:

        data : ndarray of shape (n_samples, 3, 32, 32)
            Red, green and blue from 0 to 1 as float32, which estimators take as it is.
        target : ndarray of shape (n_samples,)
            Classes from 0 to 9.
        target_names : list of str
            Names of the classes.
        DESCR : str
            Where the data are from.

    (data, target) : tuple of ndarray
        If ``return_X_y`` is True.

    Raises
    ------
    FileNotFoundError
        If the files are not there.
    ValueError
        If a file is not what it should be.

    References
    ----------
    .. [1] A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images",
       University of Toronto, 2009.

    Examples
    --------
    >>> from skmtl.datasets import load_cifar10
    >>> X, y = load_cifar10(return_X_y=True)  # doctest: +SKIP
    >>> X.shape  # doctest: +SKIP
    (50000, 3, 32, 32)
    """
    home = Path(get_data_home()) / "cifar10" if data_home is None else Path(data_home)
    layout, source = _find(home)
    wanted = [f"{name}{layout.ending}" for name in BATCHES[subset]]
    files = _read(source, layout, {*wanted, layout.meta})
    batches = [layout.batch(files[name], name) for name in wanted]
    names = layout.names(files[layout.meta], layout.meta)
    pixels = np.concatenate([images for images, _ in batches])
    data = pixels.reshape(-1, *SHAPE).astype(np.float32)
    data /= 255
    target = np.concatenate([labels for _, labels in batches])
    if return_X_y:
        return data, target
    return Bunch(data=data, target=target, target_names=names, DESCR=DESCR)


@dataclass(frozen=True)
class _Layout:
    """One of the two versions in which the data set comes."""

    archive: str
    folder: str
    ending: str
    meta: str
    batch: Callable[[bytes, str], Batch]
    names: Callable[[bytes, str], list[str]]


def _binary_batch(content: bytes, name: str) -> Batch:
    """Read records of one byte of label and 3,072 of pixels."""
    n_records, rest = divmod(len(content), 1 + N_PIXELS)
    if rest:
        raise ValueError(
            f"{name} must hold whole records of {1 + N_PIXELS} bytes. Got "
            f"{len(content)} bytes: get the archive again from {PAGE}"
        )
    records = np.frombuffer(content, np.uint8).reshape(n_records, 1 + N_PIXELS)
    return _check_file(records[:, 1:], records[:, 0].astype(np.int64), name)


def _binary_names(content: bytes, name: str) -> list[str]:
    return _checked_names(content.split(), name)


def _python_batch(content: bytes, name: str) -> Batch:
    batch = _unpickle(content, name)
    labels = np.asarray(batch.get(b"labels", ()))
    if labels.dtype.kind not in "iu":
        raise ValueError(f"{name} must hold a list of numbers as b'labels'.")
    return _check_file(batch.get(b"data"), labels.astype(np.int64), name)


def _python_names(content: bytes, name: str) -> list[str]:
    return _checked_names(_unpickle(content, name).get(b"label_names"), name)


LAYOUTS = (
    _Layout(
        archive="cifar-10-binary.tar.gz",
        folder="cifar-10-batches-bin",
        ending=".bin",
        meta="batches.meta.txt",
        batch=_binary_batch,
        names=_binary_names,
    ),
    _Layout(
        archive="cifar-10-python.tar.gz",
        folder="cifar-10-batches-py",
        ending="",
        meta="batches.meta",
        batch=_python_batch,
        names=_python_names,
    ),
)


def _check_file(images: Any, labels: NDArray[np.int64], name: str) -> Batch:
    """Return a batch if its numbers are those of the data set."""
    shape, dtype = getattr(images, "shape", None), getattr(images, "dtype", None)
    n = len(labels)
    if shape != (n, N_PIXELS) or labels.shape != (n,) or dtype != np.uint8:
        raise ValueError(
            f"{name} must hold one label and {N_PIXELS} bytes of pixels per image. Got "
            f"labels of shape {labels.shape}, pixels of shape {shape} and type {dtype}."
        )
    if not 0 < n <= MAX_RECORDS:
        raise ValueError(f"{name} must hold 1 to {MAX_RECORDS} images. Got {n}.")
    if labels.min() < 0 or labels.max() >= N_CLASSES:
        raise ValueError(
            f"{name} must hold labels from 0 to {N_CLASSES - 1}. Got labels from "
            f"{labels.min()} to {labels.max()}."
        )
    return images, labels


def _checked_names(names: Any, name: str) -> list[str]:
    """Return the names of the classes as text."""
    if not isinstance(names, list) or len(set(map(str, names))) != N_CLASSES:
        raise ValueError(f"{name} must name {N_CLASSES} classes. Got {names!r}.")
    return [n.decode() if isinstance(n, bytes) else str(n) for n in names]


def _find(home: Path) -> tuple[_Layout, Path]:
    """Return the version that is there and its folder or archive."""
    for layout in LAYOUTS:
        if (home / layout.folder).is_dir():
            return layout, home / layout.folder
        if (home / layout.archive).is_file():
            return layout, home / layout.archive
    raise FileNotFoundError(
        f"CIFAR-10 is not in {home}: get {LAYOUTS[0].archive} or {LAYOUTS[1].archive} "
        "from the CIFAR-10 page of Alex Krizhevsky at the University of Toronto, "
        f"{PAGE} , and put it there, as it is or extracted."
    )


def _read(source: Path, layout: _Layout, wanted: set[str]) -> dict[str, bytes]:
    """Return the content of files in a folder or an archive."""
    if source.is_dir():
        paths = [source / name for name in wanted if (source / name).is_file()]
        files = {path.name: _limit_read(path.open("rb"), path.name) for path in paths}
    else:
        files = _from_archive(source, layout.folder, wanted)
    missing = sorted(wanted - set(files))
    if missing:
        raise FileNotFoundError(
            f"{source} lacks {missing[0]}: get the whole of it from {PAGE}"
        )
    return files


def _from_archive(archive: Path, folder: str, wanted: set[str]) -> dict[str, bytes]:
    """Read files in the order of the archive, once; nothing is extracted to disk."""
    paths = {PurePosixPath(folder, name): name for name in wanted}
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                name = paths.get(PurePosixPath(member.name))
                if name is not None and member.isreg():
                    files[name] = _limit_read(tar.extractfile(member), name)
                if len(files) == len(paths):
                    break
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise ValueError(
            f"{archive} cannot be read ({error}): get it again from {PAGE}"
        ) from error
    return files


def _limit_read(stream: Any, name: str) -> bytes:
    """Read a file that is not larger than it can be."""
    with stream:
        content: bytes = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"{name} must have {MAX_BYTES} bytes at most; it has more.")
    return content


def _latin1(text: str, encoding: str) -> bytes:
    """Stand in for what Python 3 writes bytes with, in a pickle for Python 2."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the codec {encoding!r}")
    return text.encode("latin1")


class _Unpickler(pickle.Unpickler):
    """Reads plain containers and arrays; knows no other class or function."""

    known: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("_codecs", "encode"): _latin1,
    }

    def find_class(self, module: str, name: str) -> Any:
        value = self.known.get((module.replace("numpy._core", "numpy.core"), name))
        if value is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return value


def _unpickle(content: bytes, name: str) -> dict[bytes, Any]:
    try:
        value = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a broken pickle can raise anything
        raise ValueError(
            f"{name} must be a pickle of arrays and plain containers, nothing else is "
            f"read: {error}."
        ) from error
    if not isinstance(value, dict):
        raise ValueError(f"{name} must hold a dict. Got {type(value).__name__}.")
    return value
