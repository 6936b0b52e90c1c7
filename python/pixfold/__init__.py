"""pixfold: very wide data as pseudo-images, networks on them, attributions back on named features.

Names are imported on first use: ``import pixfold`` loads NumPy and nothing heavier.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pixfold.build import build_config as build_config
    from pixfold.errors import InputError as InputError
    from pixfold.errors import PixfoldError as PixfoldError
    from pixfold.genotypes import PackedGenotypes as PackedGenotypes
    from pixfold.image_pool import ImagePool as ImagePool
    from pixfold.layout import Layout as Layout
    from pixfold.learn.estimators import DeepMapperAutoencoder as DeepMapperAutoencoder
    from pixfold.learn.estimators import DeepMapperClassifier as DeepMapperClassifier
    from pixfold.learn.estimators import DeepMapperRegressor as DeepMapperRegressor
    from pixfold.learn.estimators import load as load
    from pixfold.learn.fold_layer import Fold as Fold
    from pixfold.learn.fold_transformer import FoldTransformer as FoldTransformer
    from pixfold.loader import FoldLoader as FoldLoader
    from pixfold.loader.device_dataset import DeviceDataset as DeviceDataset
    from pixfold.normalize.normalizer import Normalizer as Normalizer
    from pixfold.ops.aggregate import AttributionAccumulator as AttributionAccumulator
    from pixfold.ops.fold import fold as fold
    from pixfold.ops.rank import rank as rank
    from pixfold.ops.rank import top_k as top_k
    from pixfold.ops.stats import column_stats as column_stats
    from pixfold.ops.unfold import unfold as unfold
    from pixfold.pairs import PairScreen as PairScreen
    from pixfold.pairs import pair_screen as pair_screen
    from pixfold.sources import open_source as open_source
    from pixfold.store.packer import pack as pack

_NAMES = {
    "pixfold.build": "build_config",
    "pixfold.errors": "InputError PixfoldError",
    "pixfold.genotypes": "PackedGenotypes",
    "pixfold.image_pool": "ImagePool",
    "pixfold.layout": "Layout",
    "pixfold.learn.estimators": "DeepMapperAutoencoder DeepMapperClassifier DeepMapperRegressor load",
    "pixfold.learn.fold_layer": "Fold",
    "pixfold.learn.fold_transformer": "FoldTransformer",
    "pixfold.loader": "FoldLoader",
    "pixfold.loader.device_dataset": "DeviceDataset",
    "pixfold.normalize.normalizer": "Normalizer",
    "pixfold.ops": "AttributionAccumulator column_stats fold rank top_k unfold",
    "pixfold.pairs": "PairScreen pair_screen",
    "pixfold.sources": "open_source",
    "pixfold.store": "pack",
}
_HOMES = {name: home for home, names in _NAMES.items() for name in names.split()}

__all__ = [*sorted(_HOMES), "__version__"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from pixfold._core import __version__

        return __version__
    if name not in _HOMES:
        raise AttributeError(f"module 'pixfold' has no attribute {name!r}")
    try:
        home = importlib.import_module(_HOMES[name])
    except ModuleNotFoundError as error:
        from pixfold.errors import MissingDependencyError

        if error.name is None or error.name.partition(".")[0] == "pixfold":
            raise
        raise MissingDependencyError(
            f'pixfold.{name} needs {error.name}, which is not installed: pip install "pixfold[train]"'
        ) from None  # where in pixfold it is imported helps nobody
    value = getattr(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
