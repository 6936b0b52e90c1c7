"""Imports of the package point one way: down the layers, and never in a circle."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import pixfold

# From the ground up; a line is one layer. A module may import what stands on lines above its own here, and modules of
# its own room. Rooms that share a line do not import each other.
LAYERS = (
    "_core _cuda",
    "errors",
    "util",
    "layout formula genotypes image_pool",
    "arrays",
    "ops build",
    "sources",
    "stream",
    "normalize",
    "store images loader pairs compat",
    "learn",
    "report examples anndata compare benchmark",
    "cli",
    "__init__ __main__",
)

# Import with NumPy alone. ops/torch.py is about torch.
NUMPY_ALONE = ("layout", "formula", "genotypes", "image_pool", "arrays", "ops", "normalize", "compat")
EXCEPT = ("pixfold.ops.torch",)

PACKAGE = Path(pixfold.__file__).parent


@dataclass(frozen=True)
class Import:
    """One module names another, on one line of its file."""

    importer: str
    imported: str
    place: str


class Tree:
    """The modules of a package and all their imports: at the top, in functions, for types, and named in strings."""

    def __init__(self, folder: Path) -> None:
        self.package = folder.name
        self.files = {self._name(path.relative_to(folder)): path for path in sorted(folder.rglob("*.py"))}
        self._parsed = {name: ast.parse(path.read_text()) for name, path in self.files.items()}
        extensions = {f"{self.package}.{line}" for line in LAYERS[0].split()}
        self._known = set(self.files) | extensions
        self.imports = list(dict.fromkeys(found for name in self.files for found in self._imports_of(name)))

    def _name(self, path: Path) -> str:
        return ".".join((self.package, *path.with_suffix("").parts)).removesuffix(".__init__")

    def room(self, module: str) -> str:
        """Name on a line of LAYERS."""
        return module.split(".")[1] if "." in module else "__init__"

    def _imports_of(self, name: str) -> Iterator[Import]:
        for node in ast.walk(self._parsed[name]):
            for target in self._targets(name, node):
                if target in self._known and target != name:
                    yield Import(name, target, f"{self.files[name]}:{node.lineno}")

    def _targets(self, name: str, node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                parts = name.split(".") if self.files[name].stem == "__init__" else name.split(".")[:-1]
                base = parts[: len(parts) - node.level + 1]
                origin = ".".join((*base, origin) if origin else base)
            for alias in node.names:
                inner = f"{origin}.{alias.name}"
                yield inner if inner in self._known and alias.name not in self._bound_in(origin) else origin
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "." in node.value:
            # A string that names a module is there to import it: import_module("pixfold.ops"), "pixfold.ops:fold".
            yield node.value.partition(":")[0]

    def _bound_in(self, module: str) -> set[str]:
        """Names that a package's __init__ defines: ``from ops import fold`` may mean the function or the module."""
        body = self._parsed[module].body if module in self._parsed else []
        return {alias.asname or alias.name for node in body if isinstance(node, ast.ImportFrom) for alias in node.names}


def breaches(tree: Tree) -> dict[str, list[str]]:
    """Messages of all that breaks the order, by the rooms that it stands between."""
    level = {room: number for number, line in enumerate(LAYERS) for room in line.split()}
    found: dict[str, list[str]] = {}
    for module in tree.files:
        if tree.room(module) not in level:
            found.setdefault(f"{tree.room(module)} has no layer", []).append(f"{tree.files[module]}: not in LAYERS")
    for one in tree.imports:
        importer, imported = tree.room(one.importer), tree.room(one.imported)
        if importer != imported and {importer, imported} <= set(level) and level[importer] <= level[imported]:
            found.setdefault(f"{importer} -> {imported}", []).append(
                f"{one.place}: {one.importer} (layer {level[importer]}) must import from lower layers alone, "
                f"got {one.imported} (layer {level[imported]})"
            )
    for circle in circles(tree):
        steps = zip(circle[1:], circle, strict=False)
        places = [one.place for step in steps for one in tree.imports if (one.importer, one.imported) == step]
        found.setdefault(f"circle in {tree.room(circle[0])}", []).append(
            f"{' <- '.join(circle)}: imports must not go in a circle, got {', '.join(places)}"
        )
    return found


def circles(tree: Tree) -> Iterator[list[str]]:
    """Circles within rooms, from imported to importer; one that goes through several rooms has an upward import."""
    graph: dict[str, set[str]] = {name: set() for name in tree.files}
    for one in tree.imports:
        if tree.room(one.importer) == tree.room(one.imported):
            graph[one.importer].add(one.imported)
    while True:
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            imported, importer, *_ = circle = error.args[1]
            graph[importer].discard(imported)
            yield circle
        else:
            return


def test_imports_point_down_and_never_in_a_circle():
    found = breaches(Tree(PACKAGE))
    assert not found, "\n".join(line for lines in found.values() for line in lines)


def tree_of(folder: Path, **files: str) -> Tree:
    package = folder / "pixfold"
    for name, text in files.items():
        path = package / f"{name.replace('__in__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Tree(package)


@pytest.mark.parametrize(
    "text",
    [
        "from pixfold.learn.run import work",
        "import pixfold.learn.run",
        "from pixfold.learn import run",
        "from ..learn.run import work",
        "from ..learn import run",
        "def fold():\n    from pixfold.learn.run import work",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pixfold.learn.run import work",
        "import importlib\nimportlib.import_module('pixfold.learn.run')",
        "HOMES = {'work': 'pixfold.learn.run'}",
        "OPENER = 'pixfold.learn.run:work'",
    ],
)
def test_an_import_upwards_is_found(tmp_path, text):
    tree = tree_of(tmp_path, ops__in__fold=text, learn__in__run="work = 1")
    (line,) = breaches(tree)["ops -> learn"]
    assert line.startswith(f"{tmp_path}/pixfold/ops/fold.py:{len(text.splitlines())}: pixfold.ops.fold (layer ")
    assert "got pixfold.learn.run (layer " in line


@pytest.mark.parametrize(
    ("files", "key"),
    [
        ({"store__in__a": "import pixfold.images.b", "images__in__b": ""}, "store -> images"),
        ({"learn__in__a": "from pixfold import fold", "__init__": "def fold(): ..."}, "learn -> __init__"),
        ({"ops__in__a": "import pixfold.ops.b", "ops__in__b": "def f():\n    import pixfold.ops.a"}, "circle in ops"),
        (
            {
                "ops__in____init__": "from pixfold.ops.fold import fold",
                "ops__in__fold": "from pixfold.ops.other import x",
                "ops__in__other": "from pixfold.ops import fold",
            },
            "circle in ops",
        ),
        ({"learn__in__a": "import pixfold.plan", "plan": ""}, "plan has no layer"),
    ],
)
def test_other_breaches_are_found(tmp_path, files, key):
    assert list(breaches(tree_of(tmp_path, **files))) == [key]


def test_imports_downwards_are_none(tmp_path):
    tree = tree_of(
        tmp_path,
        ops__in____init__="",
        ops__in__fold="from pixfold.ops import unfold\nfrom pixfold import _core\nimport pixfold.util.text",
        ops__in__unfold="'''Not an import: pixfold.learn.run.'''",
        util__in__text="",
        learn__in__run="from pixfold.ops.fold import fold",
    )
    assert breaches(tree) == {}
    assert ("pixfold.ops.fold", "pixfold._core") in {(one.importer, one.imported) for one in tree.imports}


def test_rooms_of_the_ground_need_numpy_alone():
    tree = Tree(PACKAGE)
    modules = sorted(name for name in tree.files if tree.room(name) in NUMPY_ALONE and name not in EXCEPT)
    code = f"""
import importlib, sys
for name in {modules}:
    importlib.import_module(name)
tops = {{name.partition(".")[0] for name, module in sys.modules.items() if getattr(module, "__spec__", None)}}
print(sorted(top for top in tops - sys.stdlib_module_names - {{"numpy", "pixfold"}} if not top.startswith("_")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
