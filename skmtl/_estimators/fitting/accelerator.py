"""What the ``accelerator`` parameter says of processes, devices and precision."""

import os
from typing import Any

import torch

from skmtl._core.validation import check_device
from skmtl.training import SINGLE_PROCESS, AccelerateProcesses, Processes

#: Kinds of Accelerate's processes of which each has the whole model.
DATA_PARALLEL = (
    "MULTI_CPU",
    "MULTI_GPU",
    "MULTI_HPU",
    "MULTI_MLU",
    "MULTI_NPU",
    "MULTI_XPU",
    "NO",
)


def check_accelerator(accelerator: Any) -> Any:
    """Return an accelerator after checking that it asks for nothing but processes."""
    if accelerator is None:
        return None
    if not _is_accelerator(accelerator):
        raise ValueError(
            "The 'accelerator' parameter must be an accelerate.Accelerator or None. "
            f"Got {accelerator!r} instead."
        )
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes == 1 < launched:
        raise ValueError(
            f"The 'accelerator' parameter connects none of the {launched} processes "
            "that were launched: without GPUs, give accelerate.Accelerator(cpu=True)."
        )
    kind = str(getattr(accelerator.distributed_type, "value", "NO"))
    if kind not in DATA_PARALLEL:
        raise ValueError(
            "The 'accelerator' parameter must give each process the whole model. Got "
            f"an Accelerator of type {kind!r}: launch it without, as plain data "
            "parallel training."
        )
    steps = accelerator.gradient_accumulation_steps
    if steps != 1:
        raise ValueError(
            "The 'accelerator' parameter must make a step of every batch. Got "
            f"gradient_accumulation_steps={steps}: use 1, and a larger batch_size."
        )
    if accelerator.mixed_precision not in ("no", "bf16"):
        raise ValueError(
            "The 'accelerator' parameter must have mixed_precision='no' or 'bf16'. Got "
            f"{accelerator.mixed_precision!r} instead."
        )
    return accelerator


def _is_accelerator(value: Any) -> bool:
    try:
        from accelerate import Accelerator
    except ImportError:  # then it can be none
        return False
    return isinstance(value, Accelerator)


def resolve_processes(accelerator: Any) -> Processes:
    """Return the processes that train."""
    several = accelerator is not None and accelerator.num_processes > 1
    return AccelerateProcesses(accelerator) if several else SINGLE_PROCESS


def resolve_device(device: Any, accelerator: Any) -> torch.device:
    """Return where to compute."""
    if accelerator is None:
        return check_device(device)
    accelerator_device: torch.device = accelerator.device
    accelerator_device = (
        torch.device("cpu") if accelerator_device.type == "cpu" else accelerator_device
    )  # Accelerate numbers it
    found = (
        accelerator_device
        if isinstance(device, str) and device == "auto"
        else check_device(device)
    )
    if found.type != accelerator_device.type or found.index not in (
        None,
        accelerator_device.index,
    ):
        raise ValueError(
            "The 'device' parameter must be 'auto' with an accelerator, which decides "
            f"the device of each process, here {str(accelerator_device)!r}. Got "
            f"{device!r} instead."
        )
    return accelerator_device


def resolve_precision(precision: str, accelerator: Any) -> str:
    """Return the type of numbers."""
    if accelerator is None or accelerator.mixed_precision == "no":
        return precision
    if precision not in ("auto", "bf16"):
        raise ValueError(
            "The 'precision' parameter must be 'auto' or 'bf16' with an accelerator of "
            f"mixed_precision='bf16'. Got {precision!r} instead."
        )
    return "bf16"
