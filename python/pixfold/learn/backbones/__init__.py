"""Networks: a registry from name to builder, the gate, and the auto-encoder."""

from __future__ import annotations

from pixfold.learn.backbones import additive as _additive
from pixfold.learn.backbones import patchnet as _patchnet
from pixfold.learn.backbones import resnet as _resnet
from pixfold.learn.backbones.autoencoder import Autoencoder
from pixfold.learn.backbones.gate import Gate, gates
from pixfold.learn.backbones.registry import build, check, names, register

del _additive, _patchnet, _resnet  # imported for the names they register

__all__ = ["Autoencoder", "Gate", "build", "check", "gates", "names", "register"]
