"""DeepMapperClassifier, DeepMapperRegressor, DeepMapperAutoencoder: the method behind scikit-learn's interface."""

from pixfold.learn.estimators.autoencoder import DeepMapperAutoencoder
from pixfold.learn.estimators.classifier import DeepMapperClassifier
from pixfold.learn.estimators.regressor import DeepMapperRegressor
from pixfold.learn.estimators.saved import load

__all__ = ["DeepMapperAutoencoder", "DeepMapperClassifier", "DeepMapperRegressor", "load"]
