"""Names of genes that a spreadsheet turned into dates: SEPT2 into 2-Sep, MARCH1 into 1-Mar."""

from __future__ import annotations

import re

from pixfold.sources.base import Source
from pixfold.util.text import counted, listed

_MONTH = r"(?:jan|feb|m[a\u00e4]r|mrz|apr|ma[iy]|jun|jul|aug|sept?|o[ck]t|nov|de[cz])\.?"
# One name a line; of names that occur twice the later ones are kept apart by a number.
_DATES = re.compile(
    rf"^(?:\d{{1,2}}[-./ ]{{1,2}}{_MONTH}(?:[-./ ]\d{{2,4}})?|{_MONTH}[-./ ]\d{{2,4}}"
    r"|\d{4}-\d{2}-\d{2}(?:[ T]00:00(?::00)?(?:\.0+)?)?|\d{1,2}/\d{1,2}/\d{2,4})(?:\.\d+)?$",
    re.IGNORECASE | re.MULTILINE,
)
_NUMBERS = re.compile(r"^\d+$", re.MULTILINE)
# 2000 to 2035, as days since 1900. Such a number is a date where few other names are numbers.
_SERIAL = range(36526, 49674)
_FEW = 0.05
_NO_GENES = ("genotypes", "sequences")


def warn_of_dates(source: Source) -> Source:
    """Add a message to a source where some names of features are dates, and most are not."""
    if source.kind in _NO_GENES:
        return source
    names = source.feature_names
    text = "\n".join(names)
    dates, numbers = _DATES.findall(text), _NUMBERS.findall(text)
    if len(numbers) <= max(3, _FEW * len(names)):
        dates += [number for number in numbers if int(number) in _SERIAL]
    if dates and 2 * len(dates) <= len(names):
        what = counted(len(dates), "feature name")
        source.messages.append(
            f"{source.name}: {what} {'is a date' if len(dates) == 1 else 'are dates'} ({listed(dates)}): a spreadsheet "
            "turns names of genes such as SEPT2 and MARCH1 into dates; export the names again"
        )
    return source
