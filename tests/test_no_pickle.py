"""Nothing in the package unpickles: a file that somebody else made must not run code."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import pixfold

PACKAGE = Path(pixfold.__file__).parent
MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
    "pandas.io.pickle",
}
# Calls by the last part of their name; and, of those that can be told not to, what tells them.
CALLS = {"read_pickle", "to_pickle", "unsafe_load", "full_load"}
# Of yaml only what makes no objects.
YAML = {"safe_load", "SafeLoader", "compose", "YAMLError", "MappingNode"}
SAFE_WITH = {("torch", "load"): ("weights_only", True)}
BUILT_IN = {"eval", "exec"}


def breaches(text: str) -> list[str]:
    """Lines of a module that unpickle, or run text as code."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [f"{node.lineno}: import {alias.name}" for alias in node.names if _of(alias.name)]
        elif isinstance(node, ast.ImportFrom) and _of(node.module or ""):
            found.append(f"{node.lineno}: from {node.module}")
        elif isinstance(node, ast.Call):
            found += [f"{node.lineno}: {said}" for said in _call(node)]
    return found


def _of(module: str) -> bool:
    return module in MODULES or module.partition(".")[0] in MODULES


def _call(node: ast.Call) -> list[str]:
    named = {keyword.arg: keyword.value for keyword in node.keywords}
    found = []
    if "allow_pickle" in named and not _is(named["allow_pickle"], False):
        found.append("allow_pickle")
    # Modules that are imported by their name.
    found += [
        f"{a.value!r}" for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str) and _of(a.value)
    ]
    if isinstance(node.func, ast.Name) and node.func.id in BUILT_IN:
        found.append(node.func.id)
    if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name) and node.func.value.id == "yaml":
        loaders = [_name_of(keyword.value) for keyword in node.keywords if keyword.arg == "Loader"]
        if node.func.attr not in YAML or not set(loaders) <= YAML:
            found.append(f"yaml.{node.func.attr}")
    if isinstance(node.func, ast.Attribute):
        owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
        if node.func.attr in CALLS:
            found.append(node.func.attr)
        if (owner, node.func.attr) in SAFE_WITH:
            name, value = SAFE_WITH[owner, node.func.attr]
            if not _is(named.get(name), value):
                found.append(f"{owner}.{node.func.attr} without {name}={value}")
        if owner in ("np", "numpy") and node.func.attr == "load" and "allow_pickle" not in named:
            found.append("numpy.load without allow_pickle=False")
    return found


def _name_of(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else ast.unparse(node)


def _is(node: ast.expr | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def test_the_package_unpickles_nothing():
    found = [f"{path}:{line}" for path in sorted(PACKAGE.rglob("*.py")) for line in breaches(path.read_text())]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "import numpy, joblib",
        "from pickle import loads",
        "yaml.load(text)",
        "yaml.compose(text, Loader=yaml.Loader)",
        "require('joblib', 'train', 'x')",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "np.savez(path, allow_pickle=flag)",
        "pandas.read_pickle(path)",
        "eval(text)",
    ],
)
def test_what_is_found(line):
    assert len(breaches(line)) == 1


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(path, weights_only=True)",
        "np.load(path, allow_pickle=False)",
        "module.eval()",
        "yaml.compose(t, Loader=yaml.SafeLoader)",
    ],
)
def test_what_is_not(line):
    assert breaches(line) == []
