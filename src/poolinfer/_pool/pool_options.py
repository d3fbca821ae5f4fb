"""The options of a pool, checked: how its lanes run, and where."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, cast

from .._checks.limits import number
from .._checks.plain_data import is_one_of
from .._checks.refusals import refuse, show
from .._data.errors import InvalidRequest, PoolinferError
from .._data.kv_types import KV_BLOCKS
from .._data.specs import LaneSpec
from .._executors.executor_protocol import Description, Executor
from .._executors.registry import OURS, Factory, find, remedy

_PROTOCOL = ("start", "submit", "cancel", "stats", "close")


def check_lane(options: Mapping[str, Any]) -> None:
    """Refuse options of a lane that are out of bounds; None is for what the pool chooses, where it does."""
    for name, value in options.items():
        if value is None and name != "latency_target":
            continue
        if name in ("prefix_cache", "flash_attention"):
            if not isinstance(value, bool):
                refuse(name, value, "use True or False, or None for poolinfer's choice")
        elif name in ("type_k", "type_v"):
            if not is_one_of(value, tuple(KV_BLOCKS)):
                refuse(name, value, f"use {', '.join(map(repr, KV_BLOCKS))}, or None for 'f16'")
        else:
            number(name, value)


def choose_executor(executor: object, options: Mapping[str, object]) -> Description | Executor:
    """What ``Pool(executor=...)`` stands for: a description, or an executor object.

    Args:
        executor: a name, a description or an executor.
        options: those options of the pool that say where lanes run; None for those that were not given. They are
            the options of the description that a name stands for.

    Raises:
        InvalidRequest: `executor` is none of these, or an option means nothing beside it.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if isinstance(executor, str):
        return _checked(_description_of(executor, given))
    if isinstance(executor, Description):
        for name, value in given.items():
            refuse(name, value, _instead(type(executor), name, value))
        return _checked(executor)
    if isinstance(executor, type):
        raise InvalidRequest(
            f"executor is a class: give an object, {executor.__name__}(...)", field="executor"
        )
    if not all(hasattr(executor, name) for name in _PROTOCOL):
        refuse("executor", executor, remedy())
    return cast("Executor", executor)


def refuse_options(given: Mapping[str, object], cls: type) -> None:
    """Refuse options that would mean nothing to an executor object: those that are not the class's defaults."""
    parameters = inspect.signature(cls).parameters
    for name, value in given.items():
        if value != parameters[name].default:
            refuse(name, value, "leave it out, an executor object has its own options; or name an executor")


def plain_lane(slots: int, options: Mapping[str, Any]) -> LaneSpec:
    """How lanes run in a pool that has no model: as its options say, and else by the defaults of `LaneSpec`.

    Raises:
        InvalidRequest: there is an option that means nothing without a model.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if "kv_memory" in given:
        refuse("kv_memory", given["kv_memory"], "leave it out, or give the pool the model that it is for")
    return LaneSpec(**{**given, "slots": slots})


def _description_of(name: str, given: Mapping[str, object]) -> Description:
    """The description that a name and the pool's options stand for."""
    factory = find(name)
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError) as error:
        raise InvalidRequest(
            f"executor: what {show(name)} stands for cannot be asked for its options ({error});"
            " register the class of a poolinfer.executor.Description",
            field="executor",
        ) from error
    for option, value in given.items():
        if not _takes(signature, option):
            others = [repr(other) for other in OURS if _takes(inspect.signature(OURS[other]), option)]
            instead = f"; or use {' or '.join(others)}" if others else ""
            advice = f"leave it out, executor={show(name)} has no such option"
            if option in ("min_workers", "max_workers") and _takes(signature, "workers"):
                advice = f"give workers, executor={show(name)} has a fixed number of lanes"
            refuse(option, value, f"{advice}{instead}")
    try:
        signature.bind(**given)
    except TypeError as error:
        raise InvalidRequest(
            f"executor: {show(name)} is not enough ({error}); give the description that it stands for",
            field="executor",
        ) from error
    description = _made(name, factory, given)
    if not isinstance(description, Description):
        raise InvalidRequest(
            f"executor: {show(name)} stands for an object of type {type(description).__name__}; register what makes"
            " a poolinfer.executor.Description",
            field="executor",
        )
    return description


def _made(name: str, factory: Factory, given: Mapping[str, object]) -> object:
    """What a factory returns for the pool's options.

    Raises:
        PoolinferError: the factory refuses the options, raised something else, or is a class that lacks a method.
    """
    missing: frozenset[str] = getattr(factory, "__abstractmethods__", frozenset())
    if missing:
        raise InvalidRequest(
            f"executor: {show(name)} stands for a class that does not define {' and '.join(sorted(missing))};"
            " a description needs it",
            field="executor",
        )
    try:
        return factory(**given)
    except PoolinferError:
        raise
    except Exception as error:
        raise InvalidRequest(
            f"executor: what {show(name)} stands for raised {error!r}; repair it, or give the"
            " description itself",
            field="executor",
        ) from error


def _checked(description: Description) -> Description:
    """The description, if it has lanes, and a name and a note that fit a line of the log. It may be anyone's."""
    for field in ("name", "note"):
        text = getattr(description, field)
        if not isinstance(text, str) or not str.isprintable(text):
            raise InvalidRequest(
                f"executor: the {field} of {type(description).__name__} is {show(text)};"
                " it must be a str of one line, without control characters",
                field="executor",
            )
    least, most = description.least, description.most
    if type(least) is not int or type(most) is not int or not 0 <= least <= most or most < 1:
        raise InvalidRequest(
            f"executor: {description.name} has from {show(least)} to {show(most)} lanes;"
            " its least and most must be ints, with 0 <= least <= most and 1 <= most",
            field="executor",
        )
    return description


def _takes(signature: inspect.Signature, option: str) -> bool:
    return option in signature.parameters or any(
        parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values()
    )


def _instead(kind: type[Description], option: str, value: object) -> str:
    name = kind.__name__
    if _takes(inspect.signature(kind), option):
        return f"give it to the description, as {name}({option}={show(value)})"
    return f"leave it out, {name} has no such option"
