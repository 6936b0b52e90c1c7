from __future__ import annotations

import numpy as np

from pixfold.util.json_values import plain


def test_plain_keeps_bool_and_sorts_sets():
    value = {"a": np.True_, "b": {3, 1, 2}, "c": (1, None), "d": np.array(2.5)}
    assert plain(value) == {"a": True, "b": [1, 2, 3], "c": [1, None], "d": 2.5}
