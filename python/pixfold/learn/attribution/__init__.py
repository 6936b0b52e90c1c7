"""Attribution methods by name, each in a module of its own, through Captum where it has them."""

from __future__ import annotations

from pixfold.learn.attribution import attention_rollout as _attention_rollout
from pixfold.learn.attribution import deeplift as _deeplift
from pixfold.learn.attribution import feature_ablation as _feature_ablation
from pixfold.learn.attribution import gate as _gate
from pixfold.learn.attribution import gradcam as _gradcam
from pixfold.learn.attribution import gradient_shap as _gradient_shap
from pixfold.learn.attribution import guided_backprop as _guided_backprop
from pixfold.learn.attribution import input_x_gradient as _input_x_gradient
from pixfold.learn.attribution import integrated_gradients as _integrated_gradients
from pixfold.learn.attribution import lrp as _lrp
from pixfold.learn.attribution import occlusion as _occlusion
from pixfold.learn.attribution import registry as _registry
from pixfold.learn.attribution import saliency as _saliency

# Imported for the methods they register.
del _attention_rollout, _deeplift, _feature_ablation, _gate, _gradcam, _gradient_shap, _guided_backprop
del _input_x_gradient, _integrated_gradients, _lrp, _occlusion, _saliency

METHODS = _registry.names()

__all__ = ["METHODS"]
