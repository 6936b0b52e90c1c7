from __future__ import annotations

import re

import numpy as np
import pytest

from pixfold.errors import InputError
from pixfold.learn.time_budget import seconds_of


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        (90, 90.0),
        (0.5, 0.5),
        (np.float64(2.5), 2.5),
        (np.float32(2.5), 2.5),
        (np.int64(90), 90.0),
        ("90", 90.0),
        ("90s", 90.0),
        ("1.5s", 1.5),
        ("10m", 600.0),
        ("10min", 600.0),
        ("2h", 7200.0),
        ("0.5h", 1800.0),
        (" 10 M ", 600.0),
        ("2H", 7200.0),
    ],
)
def test_seconds(value, seconds):
    found = seconds_of("run", "time", value)
    assert found == seconds
    assert found is None or type(found) is float


@pytest.mark.parametrize(
    "value",
    [
        *(0, -1, 0.0, float("nan"), float("inf"), -0.5, True, False, b"10m", ["10m"], (1,), {}, object),
        *(
            "",
            " ",
            "0",
            "0s",
            "-5s",
            "+5s",
            "10d",
            "ten",
            "m",
            "1e3",
            "nan",
            "inf",
            "1.5.2s",
            "10m30s",
            ".5h",
            "5.",
            "10 m s",
        ),
    ],
)
def test_what_is_no_budget(value):
    with pytest.raises(InputError) as caught:
        seconds_of("run", "time", value)
    said = "run: time must be seconds above 0, or a text such as '90s', '10m' or '2h', got "
    assert re.match(re.escape(said), str(caught.value))
