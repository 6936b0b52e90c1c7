"""All pairs of features: which of them tell classes apart only together."""

from pixfold.pairs.result import PairScreen
from pixfold.pairs.screen import pair_screen, screen_array

__all__ = ["PairScreen", "pair_screen", "screen_array"]
