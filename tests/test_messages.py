"""Messages about bad input have one grammar: ``OP: ARGUMENT must be EXPECTED, got RECEIVED``."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import pixfold
from pixfold.util.text import must_be, one_of

PACKAGE = Path(pixfold.__file__).parent
RAISED = ("InputError", "TypeError")


def literals(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of every message that an error is made with; {} stands for what is put in."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in RAISED and node.args:
            text = text_of(node.args[0])
            if text.replace("{}", ""):
                yield node.lineno, text


def text_of(node: ast.AST) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else "{}"


def fault_of(text: str) -> str | None:
    """What the grammar does not allow in a message."""
    if re.search(r"\b(expected|received)\b", text):
        return "says expected or received: write 'must be ..., got ...'"
    if re.search(r"\bmust\b", text) and not re.match(r"[^:]+: .*\bmust\b.*\bgot\b", text, re.DOTALL):
        return "says must: begin with 'OP: ' and end with ', got ...'"
    return None


def test_messages_have_the_grammar():
    found = [
        f"{path}:{line}: {text!r} {fault_of(text)}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for line, text in literals(ast.parse(path.read_text()))
        if fault_of(text) is not None
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("code", "faulty"),
    [
        ("raise InputError(f'dtype: expected float32, received {dtype!r}')", True),
        ("raise InputError('fold: X must be a matrix')", True),
        ("raise TypeError('X must be a matrix, got a list')", True),
        ("raise InputError(f'{op}: X must be a matrix, got {kind}')", False),
        ("raise InputError(f'{path}: the file is damaged')", False),
        ("raise InputError(must_be(op, 'X', 'a matrix', X))", False),
        ("raise OSError('expected')", False),
    ],
)
def test_what_the_grammar_forbids(code, faulty):
    assert any(fault_of(text) for _, text in literals(ast.parse(code))) == faulty


def test_must_be():
    assert must_be("fold", "dtype", one_of(["float32", "float16"]), "f4") == (
        "fold: dtype must be one of float32, float16, got 'f4'"
    )
    long = must_be("top_k", "k", "a positive integer", list(range(1000)))
    assert len(long) < 200
    assert "\n" not in must_be("fold", "layout", "a Layout", "a\nb")

    class Broken:
        def __repr__(self):
            raise RuntimeError

    assert must_be("fold", "layout", "a Layout", Broken()).startswith("fold: layout must be a Layout, got <Broken")
