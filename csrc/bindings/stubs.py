"""Write the stubs of the extensions, python/pixfold/_core.pyi and _cuda.pyi, from what the built modules say.

    python csrc/bindings/stubs.py          writes them
    python csrc/bindings/stubs.py --check  fails where a file says something else

Importing _cuda needs neither a card nor a driver. Where it is not built, its stub is left alone.
"""

from __future__ import annotations

import ast
import difflib
import importlib.util
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "python" / "pixfold"


class Mended(ast.NodeTransformer):
    """What stubgen writes, without what is of one machine or one version of pybind11, and without docstrings."""

    def visit(self, node: ast.AST) -> ast.AST:
        """Drop a docstring."""
        body = getattr(node, "body", None)
        if body and isinstance(body[0], ast.Expr):
            node.body = body[1:] or [ast.Expr(ast.Constant(...))]
        return super().visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        """Write int and float: pybind11 3 writes what has __int__, __float__ or __index__, each version in its way."""
        number = re.match(r"typing\.Supports(Int|Float)\b", ast.unparse(node))
        return ast.Name(number[1].lower()) if number else self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        """Drop values: they are of one build. All names are public."""
        if ast.unparse(node.target) == "__all__":
            return None
        if isinstance(node.value, ast.List):
            node.annotation = ast.parse(f"list[{type(ast.literal_eval(node.value)[0]).__name__}]", mode="eval").body
        node.value = None
        return node


def run(module: str, *arguments: str, text: str | None = None) -> str:
    """What a command of this Python writes, which must succeed."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{module} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def stub_of(extension: str) -> str:
    """What pybind11-stubgen reads in an extension, in the layout that lint wants."""
    with tempfile.TemporaryDirectory() as folder:
        run("pybind11_stubgen", f"pixfold.{extension}", "--exit-code", "-o", folder)
        text = Path(folder, "pixfold", f"{extension}.pyi").read_text()
    text = ast.unparse(Mended().visit(ast.parse(text)))
    name = ("--stdin-filename", str(PACKAGE / f"{extension}.pyi"))
    text = run("ruff", "check", "--quiet", "--exit-zero", "--fix-only", *name, "-", text=text)
    return run("ruff", "format", *name, "-", text=text)


def main() -> None:
    """Write or compare the stubs of the extensions that are built."""
    check = sys.argv[1:] == ["--check"]
    for extension in ("_core", "_cuda"):
        if importlib.util.find_spec(f"pixfold.{extension}") is None:
            print(f"{extension} is not built: its stub is left alone")
            continue
        path, stub = PACKAGE / f"{extension}.pyi", stub_of(extension)
        if not check:
            path.write_text(stub)
        elif (there := path.read_text()) != stub:
            lines = difflib.unified_diff(there.splitlines(), stub.splitlines(), path.name, "the extension", lineterm="")
            raise SystemExit("\n".join([f"{path.name} must be what the extension says: run make stubs", *lines]))


if __name__ == "__main__":
    main()
