"""GBNF as Lark: what it matches, and what is refused (F-49, F-50)."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
from guided import Follower, constraint, follows
from refusals import label, refusal

from poolinfer import InvalidGrammar, Raw
from poolinfer._checks.gbnf import is_gbnf

JSON = r"""
root   ::= object   # a comment: ( " [
object ::=
  "{" ws (
            string ":" ws value
    ("," ws string ":" ws value)*
  )? "}" ws
value  ::= object | array | string | number | ("true" | "false" | "null") ws
array  ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) )* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
ws ::= | " " | "\n" [ \t]{0,20}
"""


@pytest.mark.parametrize(
    ("grammar", "yes", "no"),
    [
        (JSON, ('{"a": [1, 2.5e3, true, null, "x\\n\\u00e4ß"]}', "{}"), ("[1]", '{"a":01}', '{"a":"\n"}')),
        ('root ::= "a" "bc" | "ab" "d"', ("abc", "abd"), ("ab", "abcd")),
        ('root ::= "a"* "aab"', ("aab", "aaaaab"), ("ab",)),
        ('root ::= [a-z]+ "x"', ("abx", "xx"), ("x", "ab")),
        (
            'root ::= item-List\nitem-List ::= ("- " [^\\n]+ "\\n"){2,}',
            ("- a\n- b\n",),
            ("- a\n", "- \n- b\n"),
        ),
        ('root ::= "a"{2} | "b"{,2} | "c"{1,2}', ("aa", "", "bb", "c", "cc"), ("a", "bbb", "ccc")),
        ('root ::= root "x" | "y"', ("y", "yxx"), ("x", "")),
        ('root ::= "\\x41\\u00fc\\U0001F600" .', ("Aü😀\n", "Aü😀日"), ("Aü😀",)),
        (r"root ::= [\]\[^-] [^^] [+\-*/]", ("]a+", "^b-", "-c/"), ("a^+", "]^+")),
        ('root ::= "hi" foo_bar\nfoo_bar ::= [^] ', ("hi!", "hi\n"), ("hi",)),
        ('root ::= ("a" |) "b" (|"c")', ("ab", "b", "bc"), ("a", "c")),
        ('root ::=\n  "a"\n  | "b"\n\n# end', ("a", "b"), ("ab",)),
        ('root ::= dataType\ndataType ::= "x"\ndata-type ::= "y"\ndatatype ::= "z"', ("x",), ("y", "z")),
    ],
    ids=label,
)
def test_a_converted_grammar_means_the_same(grammar: str, yes: tuple[str, ...], no: tuple[str, ...]) -> None:
    assert is_gbnf(grammar)
    follower = Follower(constraint(grammar=grammar))
    assert [text for text in yes if not follower.accepts(text)] == []
    assert [text for text in no if follower.accepts(text)] == []


@pytest.mark.parametrize(
    ("grammar", "words"),
    [
        ('main ::= "a"', "give a rule 'root ::='"),
        ("root ::= thing", "give a rule 'thing ::='"),
        ('root ::= "a"\nroot ::= "b"', "each rule once (line 2"),
        ('root ::= ("a"', "close the group"),
        ('root ::= "a")', "open the group"),
        ('root ::= "a', "use rules, texts"),
        ("root ::= [a-z", "use rules, texts"),
        ("root ::= <[1000]>", "no tokens in GBNF here"),
        ('root ::= "\\q"', "escape with"),
        ('root ::= "\\ud800"', "escape with"),
        ("root ::= [z-a]", "go up"),
        ("root ::= []", "put a character"),
        ("root ::= * ", "let one repetition follow"),
        ('root ::= "a"+*', "let one repetition follow"),
        ('root ::= "a"{3,2}', "count up"),
        ('root ::= "a"{1,10000000}', "count up"),
        ('root ::= "a"{}', "count to"),
        ('"a"\nroot ::= "b"', "begin with a rule"),
        ('root ::= "a\0"', "NUL"),
        ("root ::= " + "(" * 60_000, "at most 200 groups"),
        ("root ::= r0\n" + "".join(f"r{i} ::= r{i + 1}\n" for i in range(2_500)) + 'r2500 ::= "a"', "2,000"),
        ("root ::= " + "." * 60_000, "262,144 bytes"),
        ('root ::= "' + "a" * 10_000_000 + '"', "65,536 bytes"),
    ],
    ids=label,
)
def test_F49_F50_what_is_no_grammar_is_refused_at_once(grammar: str, words: str) -> None:
    began = time.thread_time()
    error = refusal(Raw("x", grammar=grammar))
    assert time.thread_time() - began < 1
    assert error.field == "grammar"
    assert words in error.message


@pytest.mark.parametrize(
    "grammar",
    [
        'start: "' + '\\"' * 32_000,
        "start: /" + "\\/" * 32_000,
        "\n" * 65_000 + 'start: "a"',
        'root ::= "a"{' + " " * 65_000,
        'root ::= "a"{' + "1" * 65_000,
    ],
    ids=["quotes", "slashes", "lines", "blanks", "digits"],
)
def test_F50_looking_through_a_grammar_takes_time_with_its_length(grammar: str) -> None:
    began = time.thread_time()
    with suppress(InvalidGrammar):
        constraint(grammar=grammar)
    assert time.thread_time() - began < 1


def test_F49_a_grammar_that_matches_nothing_is_left_to_the_engine() -> None:
    assert not follows("", grammar="root ::= root")
    assert isinstance(refusal(Raw("x", grammar="root ::= nothing")), InvalidGrammar)


def test_lark_is_no_gbnf() -> None:
    assert not is_gbnf('start: "a" // root\nb: "::="')
    assert not is_gbnf("start: /root ::= a/")
    assert is_gbnf(' root::="a"')
