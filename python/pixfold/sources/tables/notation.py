"""How numbers are written in texts: with decimal commas, marks between thousands, percent signs, as bounds."""

from __future__ import annotations

import re
from collections.abc import Sequence

# What a number looks like in a text. All patterns here are read by Python and by RE2.
NUMBER = r"^[-+]?(([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[iI][nN][fF]([iI][nN][iI][tT][yY])?)$"
DECIMAL_COMMA = r"^[-+]?([0-9]+,[0-9]*|,[0-9]+)([eE][-+]?[0-9]+)?$"
# Marks between thousands, by the decimal point beside which they can stand.
THOUSANDS = {
    ".": r"^[-+]?[1-9][0-9]{0,2}(,[0-9]{3})+(\.[0-9]*)?$",
    ",": r"^[-+]?[1-9][0-9]{0,2}(\.[0-9]{3})+(,[0-9]*)?$",
}
_OF_BOUNDS = "<>≤≥~"
# Numbers that neither decimal point reads with the marks it goes with.
_OTHERS = {
    r"[-+]?[0-9][0-9.,]*\s*%": "write it as a number without the percent sign",
    rf"[{_OF_BOUNDS}]=?\s*[0-9.,]+([eE][-+]?[0-9]+)?": "write a bound as a number, or leave the cell empty",
    r"[-+]?[0-9]{1,3}([ '\u2019\u00a0\u202f][0-9]{3})+([.,][0-9]+)?": "write it without marks between thousands",
    r"[\u2212\u2013][0-9][0-9.,]*": "write the minus sign as a hyphen",
}

# Missing values in columns of numbers; in other columns they are texts. Spreadsheets write errors in capitals.
MARKS = (".", "-", "--", "na", "n.a.", "#VALUE!", "#DIV/0!", "#REF!", "#NUM!", "#NAME?", "#NULL!")

# A column of so many different bounds, such as <0.1, is no category: groups of age are fewer.
_MOST_BOUNDS = 10

_NUMBER, _DECIMAL_COMMA = re.compile(NUMBER), re.compile(DECIMAL_COMMA)
_THOUSANDS = {decimal: re.compile(pattern) for decimal, pattern in THOUSANDS.items()}
_OTHER = {re.compile(pattern): what_to_do for pattern, what_to_do in _OTHERS.items()}


def is_number(text: str) -> bool:
    """Tell whether a text is read as a number."""
    return _NUMBER.match(text) is not None


def number_in(text: str, decimal: str | None = ".") -> float | None:
    """Read a number with its decimal point; None where there is none."""
    if decimal == ",":
        text = text.replace(".", "..").replace(",", ".")
    return float(text) if is_number(text) else None


def is_decimal_comma(text: str) -> bool:
    """Tell whether a text can be a number with a decimal comma."""
    return _DECIMAL_COMMA.match(text) is not None


def advice(text: str, decimal: str | None = ".") -> str | None:
    """Say what to do about a text that is a number in another notation; None where it is no number at all.

    Parameters
    ----------
    text : str
        A cell.
    decimal : {".", ","}, optional
        The decimal point that numbers are read with; None where nobody can say it.
    """
    if decimal == "," and _THOUSANDS[","].match(text):
        if not is_number(text):
            return "if the points stand between thousands, say so (decimal ',')"
        return (
            f"with decimal ',' it is {text.replace('.', '')}, with decimal '.' it is {text}: say which it is (decimal)"
        )
    if decimal == "," and is_number(text):
        return "the numbers of this file are read with decimal commas (decimal says otherwise)"
    as_comma, as_thousands = is_decimal_comma(text), _THOUSANDS["."].match(text) is not None
    if decimal == ",":
        as_comma = as_thousands = False
    if decimal is None and (as_comma or as_thousands or _THOUSANDS[","].match(text)):
        return "turn the texts of the column into numbers"
    if as_comma and as_thousands:
        return (
            f"with decimal ',' it is {text.replace(',', '.')}, with decimal '.' it is {text.replace(',', '')}: "
            "say which it is (decimal)"
        )
    if as_comma or (_THOUSANDS[","].match(text) and not is_number(text)):
        return "if the numbers have decimal commas, say so (decimal ',')"
    if as_thousands:
        return "if the commas stand between thousands, say so (decimal '.')"
    return next((what_to_do for pattern, what_to_do in _OTHER.items() if pattern.fullmatch(text)), None)


def first_in_another(texts: Sequence[str], counts: Sequence[int], decimal: str | None = ".") -> int | None:
    """Find the first number in another notation in a column that holds mostly numbers, however they are written.

    Parameters
    ----------
    texts : sequence of str
        The different cells of the column.
    counts : sequence of int
        How often there is each.
    decimal : {".", ","}, optional
        As of :func:`advice`.

    Returns
    -------
    int or None
        Its place in `texts`; None where the column holds words, or a few bounds that may be categories.
    """
    present = [at for at, text in enumerate(texts) if text not in MARKS]
    numbers = {at for at in present if number_in(texts[at], decimal) is not None}
    others = [at for at in present if at not in numbers and advice(texts[at], decimal)]
    if not others or (len(others) <= _MOST_BOUNDS and all(texts[at][0] in _OF_BOUNDS for at in others)):
        return None
    n_numbers = sum(counts[at] for at in (*others, *numbers))
    return others[0] if 2 * n_numbers > sum(counts[at] for at in present) else None
