"""Every option is checked before the first byte of data is read, and the message says whose it is."""

from __future__ import annotations

import re

import numpy as np
import pytest

import pixfold as pf
from pixfold.errors import InputError
from pixfold.learn.training_options import TrainingOptions
from pixfold.sources import ArraySource

POSITIVE, COUNT = "must be a positive integer, got", "must be an integer of 0 or more"
RATE, AMOUNT = "must be a finite number above 0, got", "must be a finite number of 0 or more, got"
SWITCH, NAN = "must be True or False, got", float("nan")

# Option, values that are refused, what the message says before the value.
OF_TRAINING = [
    ("min_steps", (0, 1.5, "120"), POSITIVE),
    ("learning_rate", (0.0, -1, NAN, "fast", True), RATE),
    ("weight_decay", (-0.1, "much", None), AMOUNT),
    ("gate_learning_rate", (0, float("inf")), RATE),
    ("gate_penalty", (-1.0, [0.3]), AMOUNT),
    ("schedule", ("linear", 1), "must be one of one-cycle, constant, got"),
    ("patience", (0, 2.5), POSITIVE),
    ("min_delta", (-1e-4,), AMOUNT),
    ("good_enough_loss", (NAN,), AMOUNT),
    ("class_weights", ("yes", 1), SWITCH),
    ("channels_last", (0,), SWITCH),
]
OF_BOTH = [
    ("epochs", (0, 2.5, "3", True), POSITIVE),
    ("precision", ("fp8", 32, ["32-true"]), "must be one of auto, 32-true, bf16-mixed, 16-mixed, got"),
    ("device", ("abacus", "meta", None), "must be auto, cpu, cuda, cuda:N or mps, got"),
    ("device", ("cuda:77",), "must be one of this machine's"),
    ("threads", (0, 1.0), POSITIVE),
]
OF_ESTIMATORS = [
    ("n_runs", (0, -1, 2.0, "5", True), POSITIVE),
    ("time", (0, -1, "soon", "10d", True, NAN), "must be seconds above 0, or a text such as '90s', '10m' or '2h', got"),
    ("fdr", (0, -0.1, 1.5, "0.1", NAN, None, True), "must be a number above 0, at most 1, got"),
    ("normalize", ("zscor", 3, None, ["zscore"]), "must be a Normalizer or one of auto, none, log1p"),
    ("negative", ("drop", None), "must be one of auto, error, shift, got"),
    ("missing", ("drop", NAN), "must be one of error, zero, mean, got"),
    ("arrangement", ("random", 0), "must be one of natural, shuffled, got"),
    ("method", ("lime", 1), "must be one of attention_rollout, deeplift, deeplift_shap, feature_ablation, gate, "),
    ("batch_size", (0, 6.4, "64"), POSITIVE),
    (
        "fractions",
        ((0.5, 0.5), (0.6, 0.6, -0.2), 0.5, "abc"),
        "must be three positive numbers (train, validation, test) of sum 1, got",
    ),
    ("top_k", (0, "a", 1.5), POSITIVE),
    ("random_state", (-1, 0.5, "0"), f"{COUNT}, a numpy.random.RandomState or None, got"),
    ("memory", ("plenty", -1, 1.5), None),
    ("training", (3, "fast", [("patience", 3)]), "must be a dict of options of TrainingOptions or None, got"),
    ("training", ({"epochs": 3},), "must leave 'epochs' to the parameter epochs, got"),
    ("training", ({"seed": 3},), "must leave 'seed' to the parameter random_state, got"),
]
OF_CLASSIFIERS = [
    (
        "backbone",
        ("resnet81",),
        "must be one of auto, additive, linear, mlp, patchnet, resnet18, resnet18-plain, cnn1d, cnn2d, vit, swin, a",
    ),
    ("backbone", (18, None), "must be a name, a torch module or a callable that builds one, got"),
    ("min_accuracy", ("0.5", 50, -0.1, NAN, True), "must be a number from 0 to 1, got"),
]
OF_AUTOENCODERS = [("latent_dim", (0, 2.5, "32"), POSITIVE)]


class Unread(ArraySource):
    def read(self, rows):
        raise AssertionError("the data were read before the options were checked")


def cases(*tables):
    return [(name, value, words) for table in tables for name, values, words in table for value in values]


@pytest.mark.parametrize(
    ("kind", "name", "value", "words"),
    [
        *((pf.DeepMapperClassifier, *case) for case in cases(OF_BOTH, OF_ESTIMATORS, OF_CLASSIFIERS)),
        *((pf.DeepMapperAutoencoder, *case) for case in cases(OF_BOTH, OF_ESTIMATORS, OF_AUTOENCODERS)),
    ],
)
def test_estimators_check_their_parameters_first(kind, name, value, words, tmp_path):
    X, y = np.random.default_rng(0).random((8, 3)), [0, 1] * 4
    estimator = kind(**{name: value})
    said = f"^{kind.__name__}: {name}" + ("" if words is None else f" {re.escape(words)}")
    for fit in (
        lambda: estimator.check_arguments(),
        lambda: estimator.fit(tmp_path / "nothing.csv", y),
        lambda: estimator.fit_source(Unread(X, labels=y)),
    ):
        with pytest.raises(InputError, match=said):
            fit()


@pytest.mark.parametrize(("name", "value", "words"), cases(OF_TRAINING))
def test_options_within_training(name, value, words):
    said = f"^DeepMapperClassifier: {re.escape(f'training[{name!r}] {words}')}"
    with pytest.raises(InputError, match=said):
        pf.DeepMapperClassifier(training={name: value}).fit("nothing.csv", [0, 1])


@pytest.mark.parametrize(("name", "value", "words"), [*cases(OF_TRAINING, OF_BOTH), ("seed", -1, COUNT)])
def test_training_options(name, value, words):
    with pytest.raises(InputError, match=f"^TrainingOptions: {name} {re.escape(words)}"):
        TrainingOptions(**{name: value})


@pytest.mark.parametrize("name", ["rate", "layers", 3])
def test_an_unknown_option_within_training(name):
    with pytest.raises(InputError, match=r"an option in training must be one of channels_last, .*, got"):
        pf.DeepMapperAutoencoder(training={name: 1}).check_arguments()


def test_a_close_name_is_suggested():
    with pytest.raises(InputError, match=r"got 'resnet81'; did you mean resnet18"):
        pf.DeepMapperClassifier("resnet81").check_arguments()


def test_what_may_be_left_open():
    """None: until the list has converged, no limit of time, signed evidence."""
    for kind in (pf.DeepMapperClassifier, pf.DeepMapperAutoencoder):
        options = kind(n_runs=None, time=None, method=None).check_arguments()
        assert (options.n_runs, options.time, options.method) == (None, None, None)
    options = pf.DeepMapperClassifier().check_arguments()
    assert (options.backbone, options.n_runs, options.time, options.fdr) == ("auto", None, None, 0.1)
    assert (options.method, options.min_accuracy) == (None, None)


def test_time_is_kept_in_seconds():
    assert pf.DeepMapperClassifier(time="2m").check_arguments().time == 120.0
    assert pf.DeepMapperAutoencoder(time=np.float64(1.5)).check_arguments().time == 1.5


def test_options_of_other_types_that_fit():
    options = pf.DeepMapperClassifier(
        "resnet50",
        n_runs=np.int64(2),
        min_accuracy=np.float32(0.5),
        memory="2GB",
        random_state=np.random.RandomState(0),
        training={"gate_penalty": np.float64(0.1)},
    ).check_arguments()
    assert (options.memory, options.training.gate_penalty, options.training.min_steps) == (2 * 10**9, 0.1, 120)
    assert pf.DeepMapperAutoencoder(None, threads=2).check_arguments().training.min_steps == 600
