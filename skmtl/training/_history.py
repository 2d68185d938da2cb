"""The history of skorch with an entry per task, whose lists loggers do not see."""

import json
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from skorch.history import History
from skorch.utils import open_file_like

from skmtl._core.printable import escape_text

#: Lists with a number per task, and the names under which loggers find the numbers.
OF_TASKS = {
    "train_losses": "train_loss",
    "valid_losses": "valid_loss",
    "valid_scores": "valid_score",
    "train_weights": "train_weight",
    "train_gradient_norms": "train_gradient_norm",
}


if TYPE_CHECKING:
    Base = dict[str, Any]
else:

    class Base(MutableMapping, dict):
        """A dict whose methods are made of those that a subclass defines."""


class EpochRecord(Base):
    """What is recorded of an epoch."""

    # Loggers go through the keys and take the values for numbers. So the keys are those
    # of numbers; "train_loss_" and the name of a task is one for each number of the
    # list "train_losses". The lists themselves are there for those who ask for them.

    def __init__(
        self, positions: Mapping[str, int], values: Mapping[str, Any] | None = None
    ) -> None:
        self._positions = positions
        self._lists: dict[str, Any] = {}
        self.update(values or {})

    def __setitem__(self, key: str, value: object) -> None:
        self._lists.pop(key, None)
        dict.pop(self, key, None)
        if isinstance(value, list) and key != "batches":
            self._lists[key] = value
        else:
            dict.__setitem__(self, key, value)

    def __getitem__(self, key: str) -> Any:
        if dict.__contains__(self, key):
            return dict.__getitem__(self, key)
        if key in self._lists:
            return self._lists[key]
        for name, prefix in OF_TASKS.items():
            if name in self._lists and key.startswith(f"{prefix}_"):
                position = self._positions.get(key[len(prefix) + 1 :])
                if position is not None:
                    return self._lists[name][position]
        raise KeyError(key)

    def __delitem__(self, key: str) -> None:
        if dict.__contains__(self, key):
            dict.__delitem__(self, key)
        else:
            del self._lists[key]

    def __iter__(self) -> Iterator[str]:
        yield from dict.keys(self)
        for name, prefix in OF_TASKS.items():
            if name in self._lists:
                keys = (f"{prefix}_{task}" for task in self._positions)
                yield from (key for key in keys if not dict.__contains__(self, key))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mapping) and self.to_dict() == _plain(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self.to_dict())

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._positions, self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return numbers and lists as they were recorded."""
        return {**dict(dict.items(self)), **self._lists}


class TaskHistory(History):  # type: ignore[misc]
    """A history whose records have an entry per task."""

    def __init__(
        self, records: Iterable[Mapping[str, Any]] = (), names: Iterable[Any] = ()
    ) -> None:
        self.positions = {escape_text(name): t for t, name in enumerate(names)}
        super().__init__(EpochRecord(self.positions, _plain(r)) for r in records)

    def new_epoch(self) -> None:
        """Begin the record of an epoch."""
        self.append(EpochRecord(self.positions, {"batches": []}))

    def to_file(self, f: Any) -> None:
        """Write a file of JSON with all records, lists included."""
        with open_file_like(f, "w") as file:
            json.dump(self.to_dicts(), file)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return the records as plain dicts, lists included."""
        return [_plain(record) for record in self]


def _plain(record: Any) -> dict[str, Any]:
    return record.to_dict() if isinstance(record, EpochRecord) else dict(record)
