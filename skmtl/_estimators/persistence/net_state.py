"""The net of an estimator: its settings, and the state of what is built from them."""

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from skmtl._data.targets import Targets
from skmtl._estimators.persistence.allocation_limit import ChargeTensors
from skmtl._estimators.persistence.codecs import Node, Reader, Writer, make_store_error
from skmtl._estimators.persistence.object_codecs import (
    get_random_state,
    pack_all,
    unpack_all,
)
from skmtl.training import (
    MembersNet,
    MultiTaskModule,
    MultiTaskNet,
    PackedLoss,
    check_optimizer_state,
    resolve_augmentation,
    use_seed,
)

#: Settings of a net that it is built with, as it names them.
SETTINGS = (
    "autocast",
    "batch_size",
    "criterion__regression_loss",
    "given_weighting",
    "iterator_train__shuffle",
    "lr",
    "max_epochs",
    "module__encoder",
    "module__input_shape",
    "module__n_labels",
    "module__prior",
    "module__relation",
    "module__sharing",
    "optimizer",
    "record_gradients",
    "task_weight",
    "weight_decay",
    "weighting",
)
#: What a net has of its own beside modules.
STATE = ("dtype", "training_dtype", "weights_")


def pack_net(
    writer: Writer,
    net: MultiTaskNet,
    where: str,
    targets: Targets,
    augmentation: object,
) -> Node:
    """Return what JSON holds of a net."""
    settings = {name: getattr(net, name) for name in SETTINGS}
    settings |= {
        name: value
        for name, value in vars(net).items()
        if name.startswith("optimizer__")
    }
    members, arrangement = None, None
    if isinstance(net, MembersNet):
        arrangement = [net.stacked, net.module_.encoder is not None]
        members = {"priors": list(net.priors), "slopes": net.slopes}
    build_arguments = members, arrangement, targets, augmentation
    _check_builds(net, settings, build_arguments, where)
    node = {
        "settings": pack_all(writer, settings, where),
        "module": _pack_state(writer, net.module_, f"{where}.module"),
        "weighting": _pack_state(writer, net.weighting_, f"{where}.weighting"),
        "members": None,
        **_pack_trained(writer, net, where),
    }
    if isinstance(net, MembersNet):
        node["members"] = {
            "arrangement": arrangement,
            "known": pack_all(writer, members, f"{where}.members"),  # type: ignore[arg-type]
            "alone": [
                _pack_trained(writer, worker, f"{where}.members.{i}")
                for i, worker in enumerate(net._workers)
            ],
        }
    return node


def _check_builds(
    net: MultiTaskNet,
    settings: dict[str, Any],
    build_arguments: tuple[Any, ...],
    where: str,
) -> None:
    """Raise an error where the settings build other networks, before it is written."""
    built = _build(settings, *build_arguments)
    built.cast(net.dtype)
    for name in ("module_", "weighting_"):
        why = _find_difference(
            get_random_state(getattr(net, name)), get_random_state(getattr(built, name))
        )
        if why is not None:
            raise make_store_error(net, where, f" that was changed after fit, as {why}")


def _pack_trained(writer: Writer, net: MultiTaskNet, where: str) -> Node:
    """Return what training has left in a net beside its modules."""
    optimizer = net.optimizer_
    state = None if optimizer is None else optimizer.state_dict()
    own = {name: getattr(net, name) for name in STATE}
    own |= {"history": net.history.to_dicts(), "optimizer": state}
    return {"trained": pack_all(writer, own, where)}


def _pack_state(writer: Writer, module: nn.Module, where: str) -> Node:
    return {
        name: writer.keep(tensor, f"{where}.{name}")
        for name, tensor in get_random_state(module).items()
    }


def unpack_net(
    reader: Reader, node: Node, targets: Targets, augmentation: object
) -> Any:
    """Build a net, and bring back its state."""
    settings = unpack_all(reader, node["settings"])
    members, ensemble, arrangement = node["members"], None, None
    if members is not None:
        ensemble = unpack_all(reader, members["known"])
        arrangement = members["arrangement"]
    # A row of zeros is going to be predicted.
    reader.budget.charge(8 * math.prod(settings["module__input_shape"]))
    with ChargeTensors(reader.budget.charge):
        net = _build(settings, ensemble, arrangement, targets, augmentation)
    _restore(reader, net, node)
    if ensemble is not None:
        net.slopes = ensemble["slopes"]
    return net


def _build(
    settings: dict[str, Any],
    members: dict[str, Any] | None,
    arrangement: list[bool] | None,
    targets: Targets,
    augmentation: object,
) -> Any:
    """Return a net of some settings, on the CPU, with new weights."""
    kind: Any = MultiTaskNet
    if members is not None:
        kind = partial(MembersNet, priors=members["priors"])
    relation = settings["module__relation"]
    net: Any = kind(
        MultiTaskModule,
        criterion=PackedLoss,
        module__n_tasks=targets.n_tasks,
        module__blocks=targets.blocks,
        module__task_names=targets.names,
        criterion__blocks=targets.blocks,
        criterion__n_tasks=targets.n_tasks,
        criterion__soft_loss=None if relation is None else relation.soft_loss(),
        targets=targets,
        task_names=targets.names,
        augmentation=resolve_augmentation(augmentation),
        hard_example_mining=None,
        dtype=torch.float32,
        device="cpu",
        train_split=None,
        use_caching=False,
        callbacks=[],
        verbose=0,
        **settings,
    )
    if arrangement is not None:
        net.arrangement = tuple(map(bool, arrangement))
    with use_seed(0, torch.device("cpu")):
        net.initialize()
    for one in (net, *getattr(net, "_workers", [])):
        vars(one).pop("arrangement", None)
    return net


def _restore(reader: Reader, net: "MultiTaskNet", node: Node) -> None:
    trained = unpack_all(reader, node["trained"])
    net.cast(trained["dtype"])
    _fill(net.module_, node["module"], reader.tensors)
    _fill(net.weighting_, node["weighting"], reader.tensors)
    worker_nodes = [] if node["members"] is None else node["members"]["alone"]
    workers = getattr(net, "_workers", [])
    of_workers = [unpack_all(reader, worker["trained"]) for worker in worker_nodes]
    net.strip([], keep_optimizer=True)
    _continue(net, trained, train=not workers)
    for worker, state in zip(workers, of_workers, strict=True):
        _continue(worker, state, train=True)
    if workers:
        net.optimizer_ = workers[0].optimizer_


def _continue(net: "MultiTaskNet", trained: dict[str, Any], train: bool) -> None:
    """Bring back what training has left in a net."""
    for name in STATE:
        setattr(net, name, trained[name])
    net.history = trained["history"]
    if trained["optimizer"] is None:
        net.optimizer_ = None
    elif train:
        check_optimizer_state(net.optimizer_, trained["optimizer"])
        net.optimizer_.load_state_dict(trained["optimizer"])


def _fill(module: nn.Module, names: dict[str, str], tensors: dict[str, Tensor]) -> None:
    """Copy a state into a module that has been built like the one it was of."""
    places = get_random_state(module)
    why = _find_difference({name: tensors[key] for name, key in names.items()}, places)
    if why is not None:
        raise ValueError(why)
    with torch.no_grad():
        for name, place in places.items():
            place.copy_(tensors[names[name]])


def _find_difference(state: dict[str, Tensor], built: dict[str, Tensor]) -> str | None:
    """Return in what a state differs from that of a net of the same settings."""
    if state.keys() != built.keys():
        name = min(state.keys() ^ built.keys())
        return f"its networks are built in another way: they differ in {name}"
    for name, place in built.items():
        value = state[name]
        if value.shape != place.shape or value.dtype != place.dtype:
            return (
                f"{name} should be a {place.dtype} tensor of shape {tuple(place.shape)}"
                f", and is a {value.dtype} tensor of shape {tuple(value.shape)}"
            )
    return None
