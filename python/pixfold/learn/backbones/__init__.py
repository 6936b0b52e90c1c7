"""Networks: a registry from name to builder, the gate, and the auto-encoder."""

from __future__ import annotations

from pixfold.learn.backbones import additive as _additive
from pixfold.learn.backbones import controls as _controls
from pixfold.learn.backbones import patchnet as _patchnet
from pixfold.learn.backbones import resnet as _resnet
from pixfold.learn.backbones import sequences as _sequences
from pixfold.learn.backbones import transformers as _transformers
from pixfold.learn.backbones.autoencoder import Autoencoder
from pixfold.learn.backbones.autoencoders import AUTOENCODERS, autoencoder
from pixfold.learn.backbones.code import is_code
from pixfold.learn.backbones.gate import Gate, gates
from pixfold.learn.backbones.registry import build, check, names, register
from pixfold.learn.backbones.weights import take_weights

del _additive, _controls, _patchnet, _resnet, _sequences, _transformers  # imported for the names they register

__all__ = [
    "AUTOENCODERS",
    "Autoencoder",
    "Gate",
    "autoencoder",
    "build",
    "check",
    "gates",
    "is_code",
    "names",
    "register",
    "take_weights",
]
