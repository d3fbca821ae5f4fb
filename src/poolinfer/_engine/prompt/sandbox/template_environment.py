"""Jinja as chat templates know it: the syntax, the functions, and the bounds within which they are compiled."""

from __future__ import annotations

from types import CodeType

from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from .code_generator import TemplateCodeGenerator
from .filters import FILTERS
from .runtime import TemplateRuntime
from .template_globals import GLOBALS
from .template_tests import TESTS

#: Most nodes of a template. Those that models come with have 1300 at most.
MAX_NODES = 10_000
#: Most characters of the code that is made of a template. Python compiles about a million in a second, and lets no
#: other thread run meanwhile. The templates that models come with make 54,000 at most.
MAX_CODE = 256 * 1024


class GenerationTag(Extension):
    """``{% generation %}``, which marks for training what the model says; it is rendered like any other text."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        """Read a block up to its end tag; its statements get a scope of their own."""
        lineno = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=lineno)


def names_read(tree: nodes.Template) -> frozenset[str]:
    """The names by which a template may read something of a message: its attributes, and its constant texts."""
    attributes = {node.attr for node in tree.find_all(nodes.Getattr)}
    texts = {node.value for node in tree.find_all(nodes.Const) if isinstance(node.value, str)}
    return frozenset(attributes | texts)


class TemplateEnvironment(ImmutableSandboxedEnvironment):
    """Jinja with the syntax and the functions that Hugging Face's libraries give to chat templates."""

    code_generator_class = TemplateCodeGenerator
    context_class = TemplateRuntime

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            # Constants are not computed ahead of time, where nothing is bounded.
            optimized=False,
            extensions=["jinja2.ext.loopcontrols", GenerationTag],
        )
        self.filters = dict(FILTERS)
        self.tests = dict(TESTS)
        self.globals = dict(GLOBALS)

    def parse(self, source: str, name: str | None = None, filename: str | None = None) -> nodes.Template:
        """Read the source of a template into nodes.

        Raises:
            ValueError: the template has too many nodes.
            jinja2.TemplateSyntaxError: its syntax is not valid.
        """
        tree = super().parse(source, name, filename)
        for count, _ in enumerate(tree.find_all(nodes.Node)):
            if count >= MAX_NODES:
                raise ValueError(f"it has more than {MAX_NODES} parts")
        return tree

    def _compile(self, source: str, filename: str) -> CodeType:
        if len(source) > MAX_CODE:
            raise ValueError(f"it makes more than {MAX_CODE} characters of code")
        return super()._compile(source, filename)
