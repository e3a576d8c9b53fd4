"""Which statements of a lesson some code needs: what defines the names that it uses, and so on.

So grading runs a handful of imports, tables and functions in place of a lesson with its engines.
A name is followed to the last top-level statement before the code that assigns it, and to those
after that which change what it names: an item, an attribute, or a method called for its effect.
Left out: changes through another name, or from within a function.
"""

import ast
import symtable
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

_LATE = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True)
class Statement:
    """A top-level statement, and the global names that matter in it."""

    source: str
    binds: frozenset[str]
    changes: frozenset[str]
    uses: frozenset[str]
    late: bool
    """A function or class: its names are looked up when it is called, not here."""
    imports: bool


def statements(source: str) -> list[Statement]:
    """The statements of a cell.

    Raises:
        SyntaxError: the cell is no Python.
    """
    return [_statement(node) for node in ast.parse(source).body]


def _statement(node: ast.stmt) -> Statement:
    return Statement(
        ast.unparse(node),
        frozenset(_assigned(node)),
        frozenset(_changes(node)),
        frozenset(_exposed([node], set())),
        isinstance(node, _LATE),
        isinstance(node, (ast.Import, ast.ImportFrom)),
    )


def _exposed(body: Sequence[ast.stmt], bound: set[str]) -> set[str]:
    """Names that statements use without having assigned them before; `bound` grows."""
    found: set[str] = set()
    for node in body:
        if isinstance(node, (ast.For, ast.While, ast.If, ast.With, ast.Try)):
            for head in _heads(node):
                found |= _reads(head) - bound
            bound |= {name for target in _targets(node) for name in _names(target)}
            blocks = (getattr(node, name, ()) for name in ("body", "orelse", "finalbody"))
            handlers = (each.body for each in getattr(node, "handlers", ()))
            for block in (*blocks, *handlers):
                found |= _exposed(block, bound)
        else:
            found |= _reads(node) - bound
            bound |= _assigned(node)
    return found


def _heads(node: ast.stmt) -> Iterator[ast.expr]:
    """What a compound statement evaluates before its blocks."""
    if isinstance(node, ast.With):
        yield from (item.context_expr for item in node.items)
    elif isinstance(node, ast.For):
        yield node.iter
    elif isinstance(node, (ast.If, ast.While)):
        yield node.test
    yield from (each.type for each in getattr(node, "handlers", ()) if each.type)


def _targets(node: ast.stmt) -> Iterator[ast.expr]:
    """What it assigns at its head."""
    if isinstance(node, ast.With):
        yield from (item.optional_vars for item in node.items if item.optional_vars)
    elif isinstance(node, ast.For):
        yield node.target


def _table(node: ast.AST) -> symtable.SymbolTable:
    return symtable.symtable(ast.unparse(node), "cell", "exec")


def _assigned(node: ast.stmt) -> set[str]:
    symbols = _table(node).get_symbols()
    return {each.get_name() for each in symbols if each.is_assigned() or each.is_imported()}


def _reads(node: ast.AST) -> set[str]:
    return set(_globals(_table(node), top=True))


def _globals(table: symtable.SymbolTable, top: bool = False) -> Iterator[str]:
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (top or symbol.is_global()):
            yield symbol.get_name()
    for child in table.get_children():
        yield from _globals(child)


def _changes(node: ast.stmt) -> Iterator[str]:
    """Names whose object the statement changes without assigning them."""
    for each in ast.walk(node):
        if isinstance(each, (ast.Subscript, ast.Attribute)) and isinstance(each.ctx, ast.Store):
            yield from _names(each.value)
    called = node.value if isinstance(node, ast.Expr) else None
    if isinstance(called, ast.Call) and isinstance(called.func, ast.Attribute):
        yield from _names(called.func.value)


def _names(node: ast.AST) -> Iterator[str]:
    return (each.id for each in ast.walk(node) if isinstance(each, ast.Name))


def uses(source: str) -> set[str]:
    """Global names that a cell uses and does not define; SyntaxError if it is no Python."""
    body = ast.parse(source).body
    bound: set[str] = set()
    exposed = _exposed(body, bound)
    return exposed - {name for node in body if isinstance(node, _LATE) for name in _assigned(node)}


def binds(source: str) -> set[str]:
    """Global names that a cell assigns; SyntaxError if it is no Python."""
    return {name for each in statements(source) for name in each.binds}


def needed(
    names: Collection[str], before: Sequence[Statement], given: Collection[str] = ()
) -> list[Statement]:
    """The statements, in order, that define `names` and all that these need.

    Args:
        given: names that have a value already.
    """
    kept: set[int] = set()
    todo = [(name, len(before)) for name in names]
    seen = set(todo)
    while todo:
        name, limit = todo.pop()
        if name in given:
            continue
        for index in _defining(name, before, limit):
            kept.add(index)
            reach = len(before) if before[index].late else index
            more = {(use, reach) for use in before[index].uses} - seen
            seen |= more
            todo += more
    return [before[index] for index in sorted(kept)]


def _defining(name: str, before: Sequence[Statement], limit: int) -> list[int]:
    """Where a name gets its value before `limit`, and the changes after that; no module changes."""
    found = []
    for index in reversed(range(limit)):
        if name in before[index].binds:
            return [index] if before[index].imports else [*found, index]
        if name in before[index].changes:
            found.append(index)
    return found
