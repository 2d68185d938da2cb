"""A warning where gates have collapsed."""

import warnings

import torch

from skmtl.exceptions import GateCollapseWarning
from skmtl.sharing import SharingModule
from skmtl.training._batches import Rows
from skmtl.training._net import MultiTaskNet

#: Training rows to look at, at most.
N_ROWS = 1024
#: Tasks that the warning names, at most.
N_NAMES = 3


def warn_of_collapse(net: MultiTaskNet, rows: Rows) -> None:
    """Warn once, by name, of tasks whose gate has collapsed onto one expert.

    Parameters
    ----------
    net : MultiTaskNet
        A net after training.
    rows : Rows
        Its training data.
    """
    sharing = net.module_.sharing
    kinds = {type(sharing).gates, type(sharing).collapsed}
    if kinds == {SharingModule.gates, SharingModule.collapsed}:
        return  # without gates, no row is read
    X, _ = rows[:: -(-len(rows) // N_ROWS)]
    net.module_.eval()
    with torch.inference_mode():
        collapsed = sharing.collapsed(net.module_.staged(X))
    if collapsed is None or not collapsed.any():
        return
    names = [repr(net.task_names[t]) for t in collapsed.nonzero().flatten().tolist()]
    listed = ", ".join(names[:N_NAMES])
    if len(names) > N_NAMES:
        listed += f" and {len(names) - N_NAMES} more"
    warnings.warn(
        f"The gates of {type(net.module__sharing).__name__} have collapsed onto one "
        f"expert for {listed}: use fewer experts, or a lower learning_rate_init.",
        GateCollapseWarning,
        stacklevel=2,
    )
