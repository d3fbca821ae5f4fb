"""From the nodes of a chat template to Python code, whose operations on values are methods of `TemplateRuntime`.

Jinja's own generator writes the control flow and the scopes. What it would leave to Python (``a + b``, ``a.name``,
``a[b]``, calls, loops over values) is written here as a call of the runtime, which pays for it and keeps authors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame

_OPERATIONS = (
    *("add", "sub", "mul", "mod", "pow", "eq", "ne", "lt", "lteq", "gt", "gteq", "isin", "notin", "chain"),
    *("text", "concat", "key", "item", "attribute", "slice", "each", "call", "pay"),
)

# What a template may be made of; anything else (include, import, extends, block) is refused.
_KNOWN_NODES = frozenset(
    [
        *(
            nodes.Template,
            nodes.Output,
            nodes.TemplateData,
            nodes.For,
            nodes.If,
            nodes.Macro,
            nodes.CallBlock,
        ),
        *(nodes.FilterBlock, nodes.With, nodes.Assign, nodes.AssignBlock, nodes.ExprStmt, nodes.Scope),
        *(nodes.Continue, nodes.Break, nodes.Name, nodes.NSRef, nodes.Const, nodes.Tuple, nodes.List),
        *(nodes.Dict, nodes.CondExpr, nodes.Filter, nodes.Test, nodes.Call, nodes.Getitem, nodes.Getattr),
        *(nodes.Slice, nodes.Concat, nodes.Compare, nodes.Operand, nodes.Add, nodes.Sub, nodes.Mul),
        *(
            nodes.Div,
            nodes.FloorDiv,
            nodes.Mod,
            nodes.Pow,
            nodes.Not,
            nodes.And,
            nodes.Or,
            nodes.Neg,
            nodes.Pos,
        ),
        nodes.Keyword,
    ]
)

# What running a node once costs, where that is more than one: it makes something, or keeps some output.
_NODE_COSTS = {
    nodes.List: 64,
    nodes.Tuple: 64,
    nodes.Dict: 128,
    nodes.Pair: 64,
    nodes.Output: 8,
    nodes.Call: 32,
}


def _binary(name: str) -> Callable[[TemplateCodeGenerator, nodes.BinExpr, Frame], None]:
    def visit(self: TemplateCodeGenerator, node: nodes.BinExpr, frame: Frame) -> None:
        self.operation(name, frame, node.left, node.right)

    return visit


class TemplateCodeGenerator(CodeGenerator):
    """Generates the Python code of a template, in which only `TemplateRuntime` touches values."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Costs by the ids of nodes: of each item of a source, and of a body or a test each time that it runs.
        self._item_costs: dict[int, int] = {}
        self._body_costs: dict[int, int] = {}
        self._test_costs: dict[int, int] = {}

    def operation(self, name: str, frame: Frame, *values: nodes.Expr | None) -> None:
        """Generate a call of a method of `TemplateRuntime`."""
        self.write(f"op_{name}(")
        for value in values:
            if value is None:
                self.write("None")
            else:
                self.visit(value, frame)
            self.write(", ")
        self.write(")")

    def write_commons(self) -> None:
        """Generate the beginning of the code, which gives it the operations."""
        super().write_commons()
        for name in _OPERATIONS:
            self.writeline(f"op_{name} = context.{name}")
        self.writeline("concat = op_concat")

    def visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> Any:
        """Generate the code of a node."""
        if type(node) not in _KNOWN_NODES:
            self.fail(f"a chat template cannot use {type(node).__name__}", node.lineno)
        if cost := self._item_costs.pop(id(node), 0):
            self.write(f"op_each({cost}, ")
        elif cost := self._test_costs.pop(id(node), 0):
            # Paying gives None.
            self.write(f"(op_pay({cost}) or ")
        super().visit(node, *args, **kwargs)
        if cost:
            self.write(")")

    def blockvisit(self, nodes: Iterable[nodes.Node], frame: Frame) -> None:
        """Generate the code of some statements. A body that may run often pays each time."""
        cost = self._body_costs.pop(id(nodes), 0)
        if cost:
            self.writeline(f"op_pay({cost})")
        super().blockvisit(nodes, frame)

    # --- what may run often, and pays each time

    def visit_For(self, node: nodes.For, frame: Frame) -> None:  # noqa: N802
        self._body_costs[id(node.body)] = _cost(node.body)
        self._item_costs[id(node.iter)] = 1
        if node.test:
            self._test_costs[id(node.test)] = _cost([node.test])
        super().visit_For(node, frame)

    def signature(self, node: Any, frame: Frame, extra_kwargs: Any = None) -> None:
        """Generate the arguments of a call; those that a list or a dict holds are paid for."""
        if node.dyn_args is not None:
            self._item_costs[id(node.dyn_args)] = 8
        if node.dyn_kwargs is not None:
            self._item_costs[id(node.dyn_kwargs)] = 64
        super().signature(node, frame, extra_kwargs)

    def macro_body(self, node: Any, frame: Frame) -> Any:
        """Generate the code of a macro."""
        self._body_costs[id(node.body)] = _cost([*node.body, *node.defaults])
        return super().macro_body(node, frame)

    # --- output

    def _output_child_to_const(self, node: nodes.Expr, frame: Frame, finalize: Any) -> str:  # noqa: ARG002
        # Nothing is computed while a template is compiled.
        if isinstance(node, nodes.TemplateData):
            return node.data
        if isinstance(node, nodes.Const) and isinstance(node.value, str):
            return node.value
        raise nodes.Impossible

    def _output_child_pre(self, node: nodes.Expr, frame: Frame, finalize: Any) -> None:  # noqa: ARG002
        self.write("op_text(")

    def _output_child_post(self, node: nodes.Expr, frame: Frame, finalize: Any) -> None:  # noqa: ARG002
        self.write(")")

    # --- operations

    visit_Add = _binary("add")  # noqa: N815
    visit_Sub = _binary("sub")  # noqa: N815
    visit_Mul = _binary("mul")  # noqa: N815
    visit_Mod = _binary("mod")  # noqa: N815
    visit_Pow = _binary("pow")  # noqa: N815

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802
        self.write("op_concat((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:  # noqa: N802
        if len(node.ops) == 1:
            self.operation(_comparison(node.ops[0]), frame, node.expr, node.ops[0].expr)
            return
        self.write("op_chain(")
        self.visit(node.expr, frame)
        for operand in node.ops:
            self.write(f", ({_comparison(operand)!r}, lambda: ")
            self.visit(operand.expr, frame)
            self.write(")")
        self.write(")")

    def visit_Getattr(self, node: nodes.Getattr, frame: Frame) -> None:  # noqa: N802
        self.write("op_attribute(")
        self.visit(node.node, frame)
        self.write(f", {node.attr!r})")

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:  # noqa: N802
        if isinstance(node.arg, nodes.Slice):
            self.operation("slice", frame, node.node, node.arg.start, node.arg.stop, node.arg.step)
        else:
            self.operation("item", frame, node.node, node.arg)

    def visit_Call(self, node: nodes.Call, frame: Frame, forward_caller: bool = False) -> None:  # noqa: N802
        self.write("op_call(")
        self.visit(node.node, frame)
        self.signature(node, frame, {"caller": "caller"} if forward_caller else None)
        self.write(")")

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:  # noqa: N802
        self.write("{")
        for pair in node.items:
            self.operation("key", frame, pair.key)
            self.write(": ")
            self.visit(pair.value, frame)
            self.write(", ")
        self.write("}")


def _comparison(operand: nodes.Operand) -> str:
    return {"in": "isin"}.get(operand.op, operand.op)


def _cost(body: Iterable[nodes.Node]) -> int:
    """What running some nodes once costs at most. Loops in them pay for each further turn."""
    inner = [node for part in body for node in (part, *part.find_all(nodes.Node))]
    return sum(_NODE_COSTS.get(type(node), 1) for node in inner)
