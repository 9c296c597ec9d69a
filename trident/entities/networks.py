"""How networks are called: the seam between the logic and whatever runs them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from trident.contract import ENTITY_PROVENANCE_ORDER

Array = npt.NDArray[np.generic]
Pixels = npt.NDArray[np.uint8]
Tensors = Mapping[str, Array]

Infer = Callable[[str, Tensors], Awaitable[Tensors]]
"""Calls a network by its name: named input tensors in, named output tensors out, all with a batch dimension."""

_Result = TypeVar("_Result")


async def all_of(*calls: Coroutine[Any, Any, _Result]) -> list[_Result]:
    """Results of all calls, side by side; the first failure is raised, but only when every call has ended.

    So a failed request leaves nothing of itself in flight.
    """
    results = await asyncio.gather(*calls, return_exceptions=True)
    answers: list[_Result] = []
    for result in results:
        if isinstance(result, BaseException):
            raise result
        answers.append(result)
    return answers


async def call_in_chunks(infer: Infer, network: str, pixels: Pixels, most: int) -> Tensors:
    """One call for the whole batch, or a few side by side where it is more than the network takes.

    Args:
        infer: calls a network.
        network: its name.
        pixels: its input, UINT8 ``[M, h, w, 3]``, at least one item.
        most: the network's ``max_batch_size``.
    """

    async def one(part: Pixels) -> Tensors:
        return await infer(network, {"PIXELS": part})

    answers = await all_of(*(one(pixels[at : at + most]) for at in range(0, len(pixels), most)))
    if len(answers) == 1:
        return answers[0]
    return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}


def used_rows(answer: Tensors, index: int, *names: str) -> list[npt.NDArray[np.float32]]:
    """The rows that a detector used for one picture, of each of the named outputs."""
    used = int(answer["NUM_BOXES"][index].item())
    return [answer[name][index, :used].astype(np.float32) for name in names]


def note_provenance(
    provenance: npt.NDArray[np.uint8] | None, network: str, pictures: Sequence[int], answer: Tensors
) -> None:
    """Note for each picture which version of a network answered.

    Args:
        provenance: ``[N, 5, 36]``, changed in place; None if nobody wants to know.
        network: the network that answered.
        pictures: index of the picture that each row of the answer is about.
        answer: its answer.
    """
    if provenance is not None:
        provenance[list(pictures), ENTITY_PROVENANCE_ORDER.index(network)] = answer["PROVENANCE"]
