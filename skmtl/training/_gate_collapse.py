"""A warning where gates have collapsed."""

import torch

from skmtl._core.validation import warn_user
from skmtl.exceptions import GateCollapseWarning
from skmtl.sharing import SharingModule
from skmtl.training._batches import TrainingRows
from skmtl.training._members import Members
from skmtl.training._net import MultiTaskNet

#: Training rows to look at, at most.
N_ROWS = 1024
#: Tasks that the warning names, at most.
N_NAMES = 3


def warn_of_collapse(net: MultiTaskNet, rows: TrainingRows) -> None:
    """Warn once, by name, of tasks whose gate has collapsed onto one expert."""
    # Of several members, all must have done so.
    module = net.module_
    several = isinstance(module, Members)
    sharing = type((module.together if several else module).sharing)
    kinds = {sharing.gates, sharing.find_collapsed}
    if kinds == {SharingModule.gates, SharingModule.find_collapsed}:
        return  # without gates, no row is read
    X, _ = rows[:: -(-len(rows) // N_ROWS)]
    module.eval()
    each = map(module.member, range(module.n_estimators)) if several else [module]
    with torch.inference_mode():
        X = module.apply_inputs(X)
        found = [one.sharing.find_collapsed(one.read(X)[0]) for one in each]
    if found[0] is None:
        return
    collapsed = torch.stack(found).all(dim=0)  # type: ignore[arg-type]
    if not collapsed.any():
        return
    names = [repr(net.task_names[t]) for t in collapsed.nonzero().flatten().tolist()]
    listed = ", ".join(names[:N_NAMES])
    if len(names) > N_NAMES:
        listed += f" and {len(names) - N_NAMES} more"
    warn_user(
        f"The gates of {type(net.module__sharing).__name__} have collapsed onto one "
        f"expert for {listed}: use fewer experts, or a lower learning_rate_init.",
        GateCollapseWarning,
    )
