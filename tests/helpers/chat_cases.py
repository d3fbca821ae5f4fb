"""Reads the answers recorded in llama.cpp's ``tests/test-chat.cpp``, and what llama.cpp makes of them.

The file is C++. This reads only what its cases are written in: texts, lists, a few functions, and chains such as
``tst.test(output).tools({...}).expect(...).run();``. What it cannot read is listed, with its line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*|/\*.*?\*/|\#[^\n]*)
    |(?P<raw>R"(?P<tag>[^\s()\\"]*)\((?P<body>.*?)\)(?P=tag)")
    |(?P<text>"(?:[^"\\]|\\.)*")
    |(?P<char>'(?:[^'\\]|\\.)*')
    |(?P<name>[A-Za-z_]\w*(?:::[A-Za-z_]\w*)*)
    |(?P<number>\d+(?:\.\d+)?)
    |(?P<mark>->|::|.)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]+|u[0-9a-fA-F]{4}|[0-7]{1,3}|.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


class Unreadable(Exception):
    """A case is written in C++ that is not understood here."""


class Token(NamedTuple):
    """A token of C++: its kind, its text or value, and its line."""

    kind: str
    value: str
    line: int


@dataclass(frozen=True)
class Message:
    """A message of llama.cpp's."""

    role: str = "assistant"
    content: str = ""
    reasoning: str = ""
    calls: tuple[tuple[str, str, str], ...] = ()


@dataclass
class RecordedAnswer:
    """One case: what a model wrote, and what llama.cpp makes of it.

    Attributes:
        template: file name of the model's chat template.
        line: where the case stands.
        output: what the model wrote.
        options: values of the chain's other functions, by their names.
        expected: content, reasoning and calls.
    """

    template: str
    line: int
    output: str
    options: dict[str, Any] = field(default_factory=dict)
    expected: Message = field(default_factory=Message)


def read_cases(source: Path) -> tuple[list[RecordedAnswer], list[str]]:
    """All readable cases of the file, and the reasons why others are not."""
    return _Reader(tokens_of(source.read_text(encoding="utf-8"))).read()


def tokens_of(text: str) -> list[Token]:
    """The tokens of a C++ text, without comments."""
    found, line = [], 1
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or ""
        kind = "raw" if match.group("raw") is not None else kind
        if kind == "raw":
            found.append(Token("text", match.group("body"), line))
        elif kind == "text":
            found.append(Token("text", _unescaped(match.group()[1:-1]), line))
        elif kind != "space":
            found.append(Token(kind, match.group(), line))
        line += match.group().count("\n")
    return found


def _unescaped(text: str) -> str:
    """The text of a literal; bytes above 127 are bytes of UTF-8."""

    def char(match: re.Match[str]) -> str:
        code = match.group(1)
        if code[0] == "x":
            return chr(int(code[1:], 16))
        if code[0] == "u":
            return chr(int(code[1:], 16)).encode().decode("latin-1")
        if code[0] in "01234567" and code != "0":
            return chr(int(code, 8))
        return _ESCAPES.get(code, code)

    plain = text.encode().decode("latin-1")
    return _ESCAPE.sub(char, plain).encode("latin-1").decode(errors="replace")


class _Reader:
    """Goes through the tokens of the file, notes what names stand for, and reads the cases."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens, self._at = tokens, 0
        self._names: dict[str, Any] = {}
        self._testers: dict[str, list[str]] = {}
        self._parameters: dict[str, list[RecordedAnswer]] = {}
        self._function = ""
        self.cases: list[RecordedAnswer] = []
        self.unread: list[str] = []

    def read(self) -> tuple[list[RecordedAnswer], list[str]]:
        while self._at < len(self._tokens):
            start = self._at
            try:
                self._statement()
            except (Unreadable, IndexError) as error:
                if self._texts(start, 3)[1:] == [".", "test"]:
                    self.unread.append(f"line {self._tokens[start].line}: {error}")
            self._at = max(self._at, start) + 1
        return self.cases, self.unread

    def _texts(self, at: int, count: int) -> list[str]:
        return [token.value for token in self._tokens[at : at + count]]

    def _statement(self) -> None:
        """Take notice of what begins at this token, if it matters."""
        token, after = self._tokens[self._at], self._texts(self._at + 1, 2)
        if token.kind != "name":
            return
        if token.value in self._testers and after == [".", "test"]:
            self._case(token)
        elif token.value == "void" and after[1:] == ["("]:
            self._function = after[0]
        elif token.value in self._parameters and after[:1] == ["("]:
            self._at += 2
            self._run_with(token.value, self._value())
        elif after[:1] == ["="] and self._texts(self._at - 1, 1) not in (["."], [","]):
            self._assignment(token.value)
        elif after[:1] == ["{"] and self._texts(self._at - 1, 1) == ["common_chat_tool"]:
            self._at += 1
            name, description, parameters = self._value()
            self._names[token.value] = _tool(name, description, parameters)
        elif after[:1] == ["{"] and self._texts(self._at - 1, 1) == ["common_chat_msg"]:
            self._at += 1
            role, content, *_ = self._value()
            self._names[token.value] = Message(role=role, content=content)
        elif after[:1] == [":"] and self._texts(self._at + 2, 1) == ["{"]:
            self._at += 2
            self._names[token.value] = self._value()

    def _assignment(self, name: str) -> None:
        self._at += 2
        if self._texts(self._at, 2) == ["peg_tester", "("]:
            self._at += 2
            path = self._tokens[self._at]
            if path.kind == "text":
                self._testers[name] = [path.value]
            elif path.value in self._names:
                self._testers[name] = list(self._names[path.value])
            else:
                # The parameter of a function: what the function is called with comes later.
                self._testers[name] = []
                self._parameters[self._function] = []
            return
        start = self._at
        try:
            self._names[name] = self._value()
        except (Unreadable, IndexError):
            self._names.pop(name, None)
            self._at = start

    def _run_with(self, function: str, paths: Any) -> None:
        """A function of cases is called with one of several templates."""
        for path in paths if isinstance(paths, list) else [paths]:
            for case in self._parameters[function]:
                self.cases.append(
                    RecordedAnswer(Path(path).name, case.line, case.output, case.options, case.expected)
                )

    def _case(self, tester: Token) -> None:
        self._at += 3
        output, *_ = self._arguments()
        options: dict[str, Any] = {}
        while self._texts(self._at, 1) == ["."]:
            name = self._texts(self._at + 1, 1)[0]
            self._at += 2
            arguments = self._arguments()
            options[name] = arguments[0] if arguments else True
        if "run" not in options:
            raise Unreadable("it is not run")
        expected = options.pop("expect", Message())
        expected = Message(
            content=options.pop("expect_content", expected.content),
            reasoning=options.pop("expect_reasoning", expected.reasoning),
            calls=tuple(
                (call[0], call[1], call[2] if call[2:] and call[2] else "")
                for call in options.pop("expect_tool_calls", expected.calls)
            ),
        )
        tools = options.get("tools", [])
        options["tools"] = [tool if isinstance(tool, dict) else _tool(*tool) for tool in tools]
        case = RecordedAnswer("", tester.line, output, options, expected)
        if not self._testers[tester.value]:
            self._parameters[self._function].append(case)
        for path in self._testers[tester.value]:
            self.cases.append(RecordedAnswer(Path(path).name, case.line, output, options, expected))

    # --- values

    def _arguments(self) -> list[Any]:
        self._expect("(")
        return self._list(")")

    def _list(self, end: str) -> list[Any]:
        found = []
        while self._texts(self._at, 1) != [end]:
            found.append(self._value())
            if self._texts(self._at, 1) == [","]:
                self._at += 1
        self._at += 1
        return found

    def _value(self) -> Any:
        value = self._term()
        while self._texts(self._at, 1) == ["+"]:
            self._at += 1
            more = self._term()
            if not (isinstance(value, str) and isinstance(more, str)):
                raise Unreadable("a sum that is none of texts")
            value += more
        return value

    def _term(self) -> Any:
        token = self._tokens[self._at]
        if token.kind == "text":
            text = ""
            while self._tokens[self._at].kind == "text":
                text += self._tokens[self._at].value
                self._at += 1
            return text
        self._at += 1
        if token.value == "{":
            return self._list("}")
        if token.kind == "number":
            return json.loads(token.value)
        if token.kind != "name":
            raise Unreadable(f"{token.value!r} is not understood")
        if token.value in ("true", "false"):
            return token.value == "true"
        if token.value.startswith("COMMON_"):
            return token.value
        if self._texts(self._at, 1) == ["("]:
            return _called(token.value, self._arguments())
        if self._texts(self._at, 1) == ["."]:
            raise Unreadable(f"a part of {token.value}")
        if token.value not in self._names:
            raise Unreadable(f"{token.value} is not known")
        return self._names[token.value]

    def _expect(self, mark: str) -> None:
        if self._texts(self._at, 1) != [mark]:
            raise Unreadable(f"{mark} is missing")
        self._at += 1


def _tool(name: str, description: str, parameters: str) -> dict[str, Any]:
    schema = json.loads(parameters) if parameters.strip() else {}
    return {
        "type": "function",
        "function": {"name": name, "description": description, "parameters": schema},
    }


def _called(name: str, arguments: list[Any]) -> Any:
    """What one of the file's functions returns."""
    if name == "std::string":
        return arguments[0]
    if name == "simple_assist_msg":
        content, reasoning, tool, given, call_id = (*arguments, "", "", "", "", "")[:5]
        return Message(content=content, reasoning=reasoning, calls=((tool, given, call_id),) if tool else ())
    if name in ("message_with_tool_calls", "message_with_tool_calls_and_reasoning"):
        tool, given, reasoning = (*arguments, "")[:3]
        return Message(reasoning=reasoning, calls=((tool, given, ""),))
    if name == "message_with_content_and_tool_call":
        return Message(content=arguments[0], calls=((arguments[1], arguments[2], ""),))
    if name == "message_with_reasoning_and_tool_call":
        return Message(reasoning=arguments[0], calls=((arguments[1], arguments[2], ""),))
    if name == "message_with_reasoning_content_and_multiple_tool_calls":
        calls = tuple((tool, given, "") for tool, given in arguments[2])
        return Message(reasoning=arguments[0], content=arguments[1], calls=calls)
    raise Unreadable(f"the function {name} is not known")
