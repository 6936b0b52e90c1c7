"""The stub of the extension names the arguments that the extension has."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pixfold
from pixfold import _core


def said_by(function) -> list[str]:
    """Names of the arguments in the signature that pybind11 writes into the docstring."""
    signature = re.match(r"\w+\((.*)\) -> ", function.__doc__)
    assert signature is not None, function.__doc__
    return [name for name in re.findall(r"(?:^|, )(\w+): ", signature[1]) if name not in ("self", "arg0")]


def test_arguments():
    stub = ast.parse(Path(pixfold.__file__).with_name("_core.pyi").read_text())
    compared = 0
    for node in stub.body:
        members = node.body if isinstance(node, ast.ClassDef) else [node]
        for member in members:
            if not isinstance(member, ast.FunctionDef) or member.decorator_list:
                continue
            owner = getattr(_core, node.name)
            function = getattr(owner, member.name) if isinstance(node, ast.ClassDef) else owner
            names = [argument.arg for argument in member.args.posonlyargs + member.args.args + member.args.kwonlyargs]
            assert said_by(function) == [name for name in names if name != "self"], f"{node.name}.{member.name}"
            compared += 1
    assert compared > 30
