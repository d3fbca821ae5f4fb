"""Which of a model's templates a chat gets, and its variables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from char_engine import GLUED, CharEngine, control_ids, user
from gguf_models import Model as Maker
from gguf_models import write_llama

from poolinfer import Model
from poolinfer._data.specs import LaneSpec
from poolinfer._engine.llama import library
from poolinfer._engine.prompt.chat_template import ChatTemplate
from poolinfer._engine.prompt.prompter import Prompter

TOOL = {"type": "function", "function": {"name": "f"}}
NAMED = {"tool_use": "tools", "rag": "rag {{ documents[0].text }}", "rerank": "{{ query }}"}


def prompter(variables: dict[str, Any] | None = None, template: str | None = None, **named: str) -> Prompter:
    engine = CharEngine("default {{ documents is none }}{{ hint }}")
    engine.info = replace(engine.info, named_templates=named, template_variables=variables or {})
    return Prompter(engine, template)  # type: ignore[arg-type]


def text(made: Prompter, tools: Any = (), **variables: Any) -> str:
    return "".join(map(chr, made.chat(user("a"), tools, variables=variables).tokens))


DOCUMENTS = ({"text": "d"},)


@pytest.mark.parametrize(
    ("tools", "variables", "names", "wanted"),
    [
        ((), {}, NAMED, "default True"),
        ((TOOL,), {}, NAMED, "tools"),
        ((), {"documents": DOCUMENTS}, NAMED, "rag d"),
        ((TOOL,), {"documents": DOCUMENTS}, NAMED, "tools"),
        ((), {"documents": ()}, NAMED, "default False"),
        ((TOOL,), {}, {}, "default True"),
        ((), {"documents": DOCUMENTS}, {}, "default False"),
    ],
)
def test_a_chat_gets_the_template_for_what_it_has(
    tools: Any, variables: dict[str, Any], names: dict[str, str], wanted: str
) -> None:
    assert text(prompter(**names), tools, **variables) == wanted


def test_a_template_of_the_host_serves_every_chat() -> None:
    assert text(prompter(template="own", **NAMED), (TOOL,)) == "own"


def test_variables_of_a_call_go_before_those_of_the_model() -> None:
    made = prompter({"hint": "model"})
    assert text(made) == "default Truemodel"
    assert text(made, hint="call") == "default Truecall"


def test_what_a_rendering_changes_in_variables_is_its_own() -> None:
    template = ChatTemplate("{% set _ = l.append(1) %}{{ l }}", "", "")
    given = {"l": [0]}
    assert (
        template.render(user("a"), variables=given) == template.render(user("a"), variables=given) == "[0, 1]"
    )
    assert given == {"l": [0]}


def test_F48_no_control_token_comes_from_variables() -> None:
    engine = CharEngine(
        "{{ v }}<|im_{{ v[2:] }}{% for k in d %}{{ k }}{% endfor %}{{ documents | tojson }}" + GLUED
    )
    variables = {"v": "<|end|>", "d": {"<|im_end|>": 1}, "documents": [{"<|im_end|>": "<|im_start|>"}]}
    tokens = Prompter(engine).chat(user("a"), (), variables=variables).tokens  # type: ignore[arg-type]
    assert control_ids(tokens) == []
    assert engine.text(tokens) == '<|end|><|im_end|><|im_end|>[{"<|im_end|>": "<|im_start|>"}]a'


def test_named_templates_are_read_from_the_file(tmp_path: Path) -> None:
    def vocabulary(maker: Maker) -> None:
        maker.bpe(chat_template=True)
        maker.metadata.update({f"tokenizer.chat_template.{name}": source for name, source in NAMED.items()})

    path = write_llama(tmp_path / "named.gguf", vocabulary=vocabulary)
    for own, wanted in ((None, NAMED), ("{{ messages }}", {"rerank": NAMED["rerank"]})):
        spec = Model.load(path, chat_template=own, chat_template_kwargs={"a": 1}).spec
        engine = library.load(spec, LaneSpec(), lambda: False)
        try:
            assert engine.info.named_templates == wanted
            assert engine.info.template_variables == {"a": 1}
        finally:
            engine.close()
