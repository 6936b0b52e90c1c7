"""pyDeepInsight's classes on pixfold's fold: ``from pixfold.compat.deepinsight import ImageTransformer``.

Signatures and semantics are those of pyDeepInsight 0.2; each class says where it differs. NumPy, SciPy and scikit-learn
are needed (``pip install "pixfold[train]"``), matplotlib to plot, torch for ``img_format="pytorch"``, and grad-cam for
:class:`CAMFeatureSelector` (``pip install "pixfold[compare]"``).
"""

from pixfold.compat.deepinsight.cam import CAMFeatureSelector
from pixfold.compat.deepinsight.norm2 import Norm2Scaler
from pixfold.compat.deepinsight.representations import MRepImageTransformer
from pixfold.compat.deepinsight.transformer import ImageTransformer

__all__ = ["CAMFeatureSelector", "ImageTransformer", "MRepImageTransformer", "Norm2Scaler"]
