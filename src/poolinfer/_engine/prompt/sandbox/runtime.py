"""What the code of a chat template may do with values, and what each operation costs.

The code that `code_generator` makes does nothing to a value but by a method of `TemplateRuntime`. Values are plain
data (None, numbers, texts, lists, tuples, dicts, ranges) or one of a few kinds of objects: `TemplateFunction`,
macros, loops, namespaces, cyclers, joiners, and what is undefined. Only what stands here is known of them, so a
template never touches an attribute of a Python object.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jinja2.exceptions import SecurityError
from jinja2.runtime import Context, LoopContext, Macro, Undefined
from jinja2.utils import Cycler, Joiner, Namespace, missing

from . import serializers, string_formatting
from .authored_text import SafeText, cut, join, origin
from .fuel import Pay
from .text_methods import escaped, repeat
from .value_methods import find_method

#: Most bits of a number that a template may compute.
MAX_BITS = 4096
#: Deepest nesting of calls and of comparisons.
MAX_DEPTH = 100

_KEY_TYPES = (str, int, float, type(None))
# Texts that are compared without being paid for.
_FREE_LENGTH = 64
_LOOP_ATTRIBUTES = frozenset(
    {
        *("index", "index0", "revindex", "revindex0", "first", "last", "length"),
        *("previtem", "nextitem", "depth", "depth0"),
    }
)


class TemplateFunction:
    """A function that a template can call.

    Attributes:
        code: what is called, with the runtime as its first argument.
        members: functions that a template finds under names of this one (``dict.fromkeys``).
    """

    __slots__ = ("code", "members")

    def __init__(self, code: Callable[..., Any], **members: TemplateFunction) -> None:
        self.code = code
        self.members = members


class TemplateNamespace(Namespace):
    """A namespace of a template, which keeps nothing under a name that begins with ``_``, as in transformers."""

    def __init__(self, values: Mapping[Any, Any]) -> None:
        for name in values:
            _check_name(name)
        super().__init__(values)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


class TemplateRuntime(Context):
    """The variables of one rendering, and the operations that its code may do with values.

    Attributes:
        pay: pays for an operation before it is done, out of the rendering's fuel.
    """

    pay: Pay
    _call_depth = 0

    # --- texts

    def text(self, value: Any) -> str:
        """A value as text, as ``str`` makes it; what is undefined gives an empty text."""
        if isinstance(value, str):
            return value
        return "" if isinstance(value, Undefined) else serializers.text(self.pay, value)

    def concat(self, parts: Iterable[Any]) -> str:
        """Values as one text: what ``~`` does, and whatever collects output."""
        texts = [part if isinstance(part, str) else self.text(part) for part in parts]
        self.pay(sum(map(len, texts)))
        return join(texts)

    # --- operators

    def add(self, a: Any, b: Any) -> Any:
        """``a + b``."""
        if isinstance(a, str) and isinstance(b, str):
            self.pay(len(a) + len(b))
            if isinstance(a, SafeText) or isinstance(b, SafeText):
                both = join(
                    [part if isinstance(part, SafeText) else escaped(self.pay, part) for part in (a, b)]
                )
                return SafeText(both, origin(both))
            return join((a, b))
        if isinstance(a, list | tuple):
            self.pay(8 * (len(a) + len(b)))
        return _number(a + b)

    def sub(self, a: Any, b: Any) -> Any:
        """``a - b``."""
        return _number(a - b)

    def mul(self, a: Any, b: Any) -> Any:
        """``a * b``."""
        if isinstance(a, int) and isinstance(b, str | list | tuple):
            a, b = b, a
        if isinstance(a, str | list | tuple) and isinstance(b, int):
            self.pay(max(0, b) * len(a) * (1 if isinstance(a, str) else 8))
            return repeat(a, b) if isinstance(a, str) else a * b
        if isinstance(a, int) and isinstance(b, int):
            check_bits(a.bit_length() + b.bit_length())
        return a * b

    def pow(self, a: Any, b: Any) -> Any:
        """``a ** b``."""
        if isinstance(a, int) and isinstance(b, int):
            check_bits(a.bit_length() * abs(b))
        return a**b

    def mod(self, a: Any, b: Any) -> Any:
        """``a % b``."""
        return string_formatting.percent(self.pay, a, b) if isinstance(a, str) else a % b

    # --- comparisons

    def eq(self, a: Any, b: Any) -> bool:
        """``a == b``. Lists and dicts are compared here: Python's own way has no bound on its time."""
        if isinstance(a, list | tuple | dict) and isinstance(b, list | tuple | dict):
            return self._same(a, b, 0)
        if isinstance(a, str) and isinstance(b, str) and len(a) == len(b) > _FREE_LENGTH:
            self.pay(len(a))
        return bool(a == b)

    def ne(self, a: Any, b: Any) -> bool:
        """``a != b``."""
        return not self.eq(a, b)

    def lt(self, a: Any, b: Any) -> bool:
        """``a < b``."""
        self._check_order(a, b)
        return bool(a < b)

    def lteq(self, a: Any, b: Any) -> bool:
        """``a <= b``."""
        self._check_order(a, b)
        return bool(a <= b)

    def gt(self, a: Any, b: Any) -> bool:
        """``a > b``."""
        self._check_order(a, b)
        return bool(a > b)

    def gteq(self, a: Any, b: Any) -> bool:
        """``a >= b``."""
        self._check_order(a, b)
        return bool(a >= b)

    def isin(self, a: Any, b: Any) -> bool:
        """``a in b``."""
        if isinstance(b, list | tuple):
            return any(item is a or self.eq(item, a) for item in self.each(4, b))
        if isinstance(b, dict):
            return self.key(a) in b
        if isinstance(b, str):
            self.pay(len(b))
        elif isinstance(b, range) and not isinstance(a, int):
            return False
        return bool(operator.contains(b, a))

    def notin(self, a: Any, b: Any) -> bool:
        """``a not in b``."""
        return not self.isin(a, b)

    def chain(self, a: Any, *rest: tuple[str, Callable[[], Any]]) -> bool:
        """``a < b < c``: each comparison by its name, with a function that gives its right side when needed."""
        for name, operand in rest:
            b = operand()
            if not getattr(self, name)(a, b):
                return False
            a = b
        return True

    def _same(self, a: Any, b: Any, depth: int) -> bool:
        """Whether two values are equal that may be lists, tuples or dicts."""
        if depth > MAX_DEPTH:
            raise RecursionError("it is nested too deeply")
        self.pay(8)
        if isinstance(a, dict) and isinstance(b, dict):
            return len(a) == len(b) and all(
                key in b and self._same(item, b[key], depth + 1) for key, item in a.items()
            )
        if (isinstance(a, list) and isinstance(b, list)) or (isinstance(a, tuple) and isinstance(b, tuple)):
            return len(a) == len(b) and all(self._same(x, y, depth + 1) for x, y in zip(a, b, strict=True))
        if isinstance(a, list | tuple | dict) or isinstance(b, list | tuple | dict):
            return False
        return a is b or self.eq(a, b)

    def _check_order(self, a: Any, b: Any) -> None:
        """Refuse to order lists and dicts, and pay for the order of two texts."""
        if isinstance(a, list | tuple | dict) or isinstance(b, list | tuple | dict):
            raise TypeError(f"{type(a).__name__} and {type(b).__name__} have no order")
        if isinstance(a, str) and isinstance(b, str):
            self.pay(min(len(a), len(b)))

    def truth(self, value: Any) -> bool:
        """Whether a value counts as true."""
        return bool(value)

    # --- what is in values

    def key(self, key: Any) -> Any:
        """A key of a dict, if the value may be one. A tuple may not: hashing nested ones may take any time."""
        if isinstance(key, _KEY_TYPES):
            # A dict compares a long text with its keys.
            self.pay(1 + (len(key) // 16 if isinstance(key, str) else 0))
            return key
        if isinstance(key, Undefined):
            return type(key)
        raise TypeError(f"a {type(key).__name__} cannot be a key")

    def item(self, value: Any, key: Any) -> Any:
        """``value[key]``."""
        self.pay(1)
        if isinstance(value, dict):
            if isinstance(key, _KEY_TYPES):
                found = value.get(self.key(key), missing)
                if found is not missing:
                    return found
        elif isinstance(value, str | list | tuple | range) and isinstance(key, int):
            if -len(value) <= key < len(value):
                return cut(value, key, key + 1 or None) if isinstance(value, str) else value[key]
            return self._undefined(value, key)
        elif isinstance(value, Undefined):
            return value[0]
        if isinstance(key, str):
            return self.attribute(value, key)
        return self._undefined(value, key if isinstance(key, _KEY_TYPES) else type(key).__name__)

    def attribute(self, value: Any, name: str) -> Any:
        """``value.name``: a method of the value, or what a dict has under that name."""
        self.pay(1)
        code = find_method(value, name)
        if code is not None:
            return TemplateFunction(lambda runtime, *args, **kwargs: code(runtime, value, *args, **kwargs))
        if isinstance(value, dict):
            found = value.get(name, missing)
            return self._undefined(value, name) if found is missing else found
        if isinstance(value, Namespace):
            return self._undefined(value, name) if name[:1] == "_" else self._namespace_value(value, name)
        if (isinstance(value, LoopContext) and name in _LOOP_ATTRIBUTES) or (
            isinstance(value, Cycler) and name == "current"
        ):
            return getattr(value, name)
        if isinstance(value, TemplateFunction) and name in value.members:
            return value.members[name]
        if isinstance(value, Undefined):
            return value[0]
        return self._undefined(value, name)

    def slice(self, value: Any, start: Any, stop: Any, step: Any) -> Any:
        """``value[start:stop:step]``."""
        if isinstance(value, str):
            self.pay(len(value))
            return cut(value, start, stop, step)
        if isinstance(value, list | tuple):
            self.pay(8 * len(range(len(value))[start:stop:step]))
        return value[start:stop:step]

    def each(self, cost: int, items: Any) -> Any:
        """The items of a value, to loop over: `cost` units are paid for each, but more for characters of a text."""
        if not isinstance(items, str | list | tuple | dict | range | Undefined):
            raise TypeError(f"a {type(items).__name__} cannot be looped over")
        # The characters of a text become texts.
        self.pay((max(cost, 32) if isinstance(items, str) else cost) * len(items))
        return items

    def _namespace_value(self, value: Namespace, name: str) -> Any:
        try:
            return getattr(value, name)
        except AttributeError:
            return self._undefined(value, name)

    def _undefined(self, value: Any, name: Any) -> Undefined:
        return self.environment.undefined(obj=value, name=name)

    # --- calls

    def call(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """``function(...)``."""
        self.pay(8 * len(args) + 64 * len(kwargs))
        if isinstance(function, TemplateFunction):
            return function.code(self, *args, **kwargs)
        if isinstance(function, Joiner):
            return function()
        if isinstance(function, Undefined):
            return function()
        if not isinstance(function, Macro | LoopContext):
            raise TypeError(f"a {type(function).__name__} cannot be called")
        if isinstance(function, LoopContext):
            args = tuple(self.each(1, items) for items in args)
            kwargs = {name: self.each(1, items) for name, items in kwargs.items()}
        self._call_depth += 1
        if self._call_depth > MAX_DEPTH:
            raise RecursionError("macros call each other too deeply")
        try:
            return function(*args, **kwargs)
        finally:
            self._call_depth -= 1


def _check_name(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace keeps nothing under a name with _ at its beginning: {name[:100]!r}")


def _number(value: Any) -> Any:
    if isinstance(value, int):
        check_bits(value.bit_length())
    return value


def check_bits(bits: int) -> None:
    """Refuse a number of more than `MAX_BITS` bits."""
    if bits > MAX_BITS:
        raise OverflowError(f"a number of more than {MAX_BITS} bits")
