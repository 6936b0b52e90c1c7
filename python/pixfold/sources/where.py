"""Conditions on columns about the samples (``tissue == 'lung' and age >= 40``): parsed, never executed."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.sources.missing import missing_labels
from pixfold.util.text import listed, short_repr

_ORDERS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_SWAPPED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.Eq,
    ast.NotEq: ast.NotEq,
    ast.Lt: ast.Gt,
    ast.LtE: ast.GtE,
    ast.Gt: ast.Lt,
    ast.GtE: ast.LtE,
}
_TEXT = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
_GRAMMAR = "comparisons of a column with a value (==, !=, <, <=, >, >=, in [...]) with and, or, not and parentheses"
_LONGEST = 10_000

# Which samples meet a condition, and which do not; a sample whose value is missing does neither.
Met = tuple[NDArray[np.bool_], NDArray[np.bool_]]


@dataclass(frozen=True)
class Where:
    """A condition that samples meet or not.

    Attributes
    ----------
    text : str
        As it was given.
    columns : tuple of str
        The columns that it names, each once.
    """

    text: str
    columns: tuple[str, ...]

    @classmethod
    def parsed(cls, text: str) -> Where:
        """Parse a condition.

        Parameters
        ----------
        text : str
            Comparisons of columns with text in quotes, numbers, True, False or None (missing), or ``in`` lists of
            these; ``and``, ``or``, ``not``, parentheses. A name with blanks stands in backticks.

        Raises
        ------
        InputError
            When it is anything else; the message shows which part.
        """
        tree, names = _tree(text)
        columns: list[str] = []
        _check(text, tree, names, columns)
        if not columns:
            raise InputError(f"where: the condition must name a column, got {short_repr(text)}")
        return cls(text, tuple(dict.fromkeys(columns)))

    def of_columns(self, names: Collection[str]) -> Where | None:
        """Return the condition as far as it is about these columns, for who reads them; None where it is about none."""
        columns = tuple(name for name in self.columns if name in names)
        return Where(self.text, columns) if columns else None

    def __str__(self) -> str:
        return self.text

    def met(self, source: str, values: Mapping[str, NDArray[Any]]) -> Met:
        """Tell which samples meet the condition, and which do not.

        A missing value meets no comparison, and fails none: ``not`` does not turn it into one that is met.

        Parameters
        ----------
        source : str
            For messages.
        values : mapping of str to array (n,)
            The columns that the condition names.

        Raises
        ------
        InputError
            When text is compared with a number.
        """
        tree, names = _tree(self.text)
        return _Evaluation(source, names, values).of(tree)


def _tree(text: str) -> tuple[ast.expr, dict[str, str]]:
    """Parse, with stand-ins for names in backticks; return what these stand for."""
    names: dict[str, str] = {}

    def stand_in(found: re.Match[str]) -> str:
        name = f"pixfold_column_{len(names)}_"
        names[name] = found[1]
        return name

    if len(text) > _LONGEST:
        raise InputError(f"where: the condition must have {_LONGEST:,} characters at most, got {len(text):,}")
    # Backticks within quotes are text.
    pieces = re.split(r"('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")", text)
    plain = "".join(piece if at % 2 else re.sub(r"`([^`]+)`", stand_in, piece) for at, piece in enumerate(pieces))
    try:
        return ast.parse(plain.strip(), mode="eval").body, names
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        single = re.search(r"(?<![=!<>])=(?!=)", "".join(pieces[::2]))
        hint = "; equality is ==" if single else "; text stands in quotes, a name with blanks in backticks"
        raise InputError(f"where: the condition must be {_GRAMMAR}{hint}, got {short_repr(text)}") from None


def _check(text: str, node: ast.expr, names: Mapping[str, str], columns: list[str]) -> None:
    """Collect the columns, or raise InputError for the first part that the grammar does not have."""
    if isinstance(node, ast.BoolOp):
        for part in node.values:
            _check(text, part, names, columns)
        return
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        _check(text, node.operand, names, columns)
        return
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        for left, order, right in zip(sides, node.ops, sides[1:], strict=False):
            found = [name for name in (_column(left, names), _column(right, names)) if name is not None]
            columns += found
            if isinstance(order, ast.In | ast.NotIn):
                fits = _column(left, names) is not None and _values(right) is not None
            else:
                fits = type(order) in _ORDERS and len(found) == 1 and (_is_value(left) or _is_value(right))
                if len(found) == 2:
                    other = found[1]
                    raise InputError(
                        f"where: columns must be compared with values, and text stands in quotes ('{other}'), got "
                        f"{short_repr(ast.unparse(node))}"
                    )
            if not fits:
                raise InputError(f"where: the condition must be {_GRAMMAR}, got {short_repr(ast.unparse(node))}")
        return
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd | ast.BitOr):
        word = "and" if isinstance(node.op, ast.BitAnd) else "or"
        raise InputError(f"where: conditions must be joined by {word!r}, got {short_repr(ast.unparse(node))}")
    raise InputError(f"where: the condition must be {_GRAMMAR}, got {short_repr(ast.unparse(node))}")


def _column(node: ast.expr, names: Mapping[str, str]) -> str | None:
    """Name of a column; one with dots, too."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        before = _column(node.value, names)
        return None if before is None else f"{before}.{node.attr}"
    return None


def _is_value(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        return isinstance(node.operand, ast.Constant) and type(node.operand.value) in (int, float)
    return isinstance(node, ast.Constant) and (node.value is None or type(node.value) in (str, int, float, bool))


def _value(node: ast.expr) -> Any:
    return ast.literal_eval(node)


def _values(node: ast.expr) -> list[Any] | None:
    if isinstance(node, ast.List | ast.Tuple | ast.Set) and all(map(_is_value, node.elts)):
        return [_value(part) for part in node.elts]
    return None


class _Evaluation:
    """The values of one source, in which conditions are looked up."""

    def __init__(self, source: str, names: Mapping[str, str], values: Mapping[str, NDArray[Any]]) -> None:
        self._source, self._names, self._columns = source, names, values

    def of(self, node: ast.expr) -> Met:
        if isinstance(node, ast.BoolOp):
            parts = [self.of(part) for part in node.values]
            both = isinstance(node.op, ast.And)
            joined, opposed = (np.logical_and, np.logical_or) if both else (np.logical_or, np.logical_and)
            return joined.reduce([met for met, _ in parts]), opposed.reduce([failed for _, failed in parts])
        if isinstance(node, ast.UnaryOp):
            met, failed = self.of(node.operand)
            return failed, met
        assert isinstance(node, ast.Compare)
        sides = [node.left, *node.comparators]
        steps = [self._compared(*step) for step in zip(sides, node.ops, sides[1:], strict=False)]
        return (
            np.logical_and.reduce([met for met, _ in steps]),
            np.logical_or.reduce([failed for _, failed in steps]),
        )

    def _compared(self, left: ast.expr, order: ast.cmpop, right: ast.expr) -> Met:
        name = _column(left, self._names)
        if isinstance(order, ast.In | ast.NotIn):
            assert name is not None
            chosen = _values(right) or []
            met = np.zeros(len(self._columns[name]), dtype=bool)
            for value in chosen:
                met |= self._holds(name, ast.Eq, value)[0]
            known = ~missing_labels(self._columns[name]) | met
            return (met, known & ~met) if isinstance(order, ast.In) else (known & ~met, met)
        if name is None:
            name = _column(right, self._names)
            assert name is not None
            return self._holds(name, _SWAPPED[type(order)], _value(left))
        return self._holds(name, type(order), _value(right))

    def _holds(self, name: str, order: type[ast.cmpop], value: Any) -> Met:
        column = self._columns[name]
        absent = missing_labels(column)
        if value is None:
            if order not in (ast.Eq, ast.NotEq):
                raise InputError(f"where: None must be compared by == or !=, got {_TEXT[order]} with column {name!r}")
            return (absent, ~absent) if order is ast.Eq else (~absent, absent)
        met = np.zeros(len(column), dtype=bool)
        known = column[~absent]
        met[~absent] = _ORDERS[order](*self._alike(name, known, order, value))
        return met, ~absent & ~met

    def _alike(self, name: str, known: NDArray[Any], order: type[ast.cmpop], value: Any) -> tuple[NDArray[Any], Any]:
        """Values of a column and what they are compared with, both numbers or both text."""
        where = f"{self._source}: where"
        is_number = known.dtype.kind in "biuf" or all(isinstance(v, int | float | np.number) for v in known.tolist())
        if isinstance(value, bool) and not all(isinstance(v, bool | np.bool_) for v in known.tolist()):
            # Truth that was read as text, or as 0 and 1.
            truth = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}
            found = [truth.get(str(v).strip().lower()) for v in known.tolist()]
            if None in found:
                raise InputError(
                    f"{where}: column {name!r} must hold True and False to be compared with {value}, got "
                    f"{listed(_some(known))}"
                )
            return np.array(found, dtype=bool), value
        if isinstance(value, int | float):
            try:
                return np.array([float(v) for v in known.tolist()], dtype=np.float64), float(value)
            except ValueError:
                raise InputError(
                    f"{where}: column {name!r} must hold numbers to be compared with {value!r}, got text "
                    f"({listed(_some(known))}); "
                    f"text stands in quotes: '{value}'"
                ) from None
        if is_number:
            if known.dtype.kind == "b" or all(isinstance(v, bool) for v in known.tolist()):
                return np.array([str(v).lower() for v in known.tolist()], dtype=object), str(value).lower()
            try:
                return np.asarray(known, dtype=np.float64), float(value)
            except ValueError:
                raise InputError(
                    f"{where}: column {name!r} must be compared with a number, because it holds numbers, got {value!r}"
                ) from None
        if order in _TEXT:
            raise InputError(
                f"{where}: column {name!r} must hold numbers to be compared by {_TEXT[order]}, got text "
                f"({listed(_some(known))})"
            )
        return np.array([str(v) for v in known.tolist()], dtype=object), value


def _some(values: NDArray[Any]) -> list[str]:
    return list(dict.fromkeys(map(str, values[:1000].tolist())))
