"""Options of `Model.load` beside those of the file itself: adapters, scaled positions, and GPUs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from .._checks.limits import count, number
from .._checks.plain_data import is_one_of, sequence
from .._checks.refusals import refuse
from .._data.errors import InvalidRequest
from .._data.option_names import scalar
from .._data.specs import FileSpec, LoraSpec, RopeSpec
from .._gguf.lora_file import read_lora_file

#: A LoRA adapter as callers write it: a path, or a path and a scale.
Lora: TypeAlias = str | os.PathLike[str] | tuple[str | os.PathLike[str], float]
#: llama.cpp's ways of scaling positions.
ROPE_SCALINGS = ("none", "linear", "yarn", "longrope")
_REMEDY = "use a path, a pair of path and scale, or a list of these"


def lora_specs(lora: Lora | Sequence[Lora] | None, architecture: str) -> tuple[LoraSpec, ...]:
    """The adapters of a model of this architecture.

    Raises:
        ModelError: a file cannot be used.
        InvalidRequest: `lora` is something else, or names a file twice.
    """
    if lora is None:
        return ()
    single = isinstance(lora, str | os.PathLike) or (
        isinstance(lora, tuple) and len(lora) == 2 and isinstance(scalar(lora[1]), int | float)
    )
    given = [lora] if single else sequence("lora", lora, _REMEDY)
    count("lora", len(given))
    found = [_lora(f"lora[{i}]", one, architecture) for i, one in enumerate(given)]
    for i, one in enumerate(found):
        if any(one.file.identity == other.file.identity for other in found[:i]):
            refuse(f"lora[{i}]", one.file.path, "give each adapter once, with one scale")
    return tuple(found)


def _lora(field: str, given: object, architecture: str) -> LoraSpec:
    path, scale = given if isinstance(given, tuple) and len(given) == 2 else (given, 1.0)
    if not isinstance(path, str | os.PathLike):
        refuse(field, given, _REMEDY)
    file = read_lora_file(path, architecture)
    return LoraSpec(
        FileSpec(file.path, file.identity), float(number("lora_scale", scalar(scale), field) or 0)
    )


def rope_spec(options: Mapping[str, Any]) -> RopeSpec:
    """How positions are scaled.

    Raises:
        InvalidRequest: an option is out of bounds.
    """
    found: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    for name, value in found.items():
        if name != "rope_scaling_type":
            found[name] = number(name, value)
        elif not is_one_of(value, ROPE_SCALINGS):
            refuse(name, value, f"use {', '.join(map(repr, ROPE_SCALINGS))}, or None for the file's own")
    return RopeSpec(**found)


def check_gpus(
    n_gpu_layers: int, main_gpu: int | None, tensor_split: Sequence[float] | None
) -> tuple[float, ...] | None:
    """The share of each GPU, or None.

    Raises:
        InvalidRequest: an option is out of bounds, or means nothing beside the others.
    """
    for name, value in (("main_gpu", main_gpu), ("tensor_split", tensor_split)):
        if value is not None and not n_gpu_layers:
            refuse(name, value, "give n_gpu_layers too, or leave it out: no layer is on a GPU")
    if main_gpu is not None:
        number("main_gpu", main_gpu)
    if tensor_split is None:
        return None
    if main_gpu is not None:
        raise InvalidRequest(
            "tensor_split: leave out main_gpu, which puts all on one GPU", field="tensor_split"
        )
    shares = sequence("tensor_split", tensor_split, "use a list of numbers, one for each GPU")
    count("tensor_split", len(shares))
    found = tuple(
        float(number("gpu_share", scalar(share), f"tensor_split[{i}]") or 0) for i, share in enumerate(shares)
    )
    if not any(found):
        refuse("tensor_split", tensor_split, "give at least one GPU a share")
    return found
