"""The transpose of packed codes, by every instruction set and number of threads."""

from __future__ import annotations

import numpy as np
import pytest

from pixfold import InputError, PackedGenotypes, _core
from pixfold.ops import reference

SIZES = [1, 3, 4, 5, 31, 32, 33, 255, 256, 257]


def random_bits(n_rows, n_codes, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n_rows, -(-n_codes // 4)), dtype=np.uint8)


@pytest.mark.parametrize("n_rows", SIZES)
def test_the_reference(isa, n_rows):
    for n_codes in SIZES:
        bits = random_bits(n_rows, n_codes)
        out = np.full((n_codes, -(-n_rows // 4)), 0xA5, np.uint8)
        _core.transpose_packed(bits, n_codes, out, 1)
        np.testing.assert_array_equal(out, reference.transpose_packed(bits, n_codes))


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_any_number_of_threads(isa, threads):
    bits = random_bits(3000, 5001)
    once, back = np.empty((5001, 750), np.uint8), np.empty((3000, 1251), np.uint8)
    _core.transpose_packed(bits, 5001, once, threads)
    _core.transpose_packed(once, 3000, back, threads)
    bits[:, -1] &= 0b11
    np.testing.assert_array_equal(back, bits)


def test_part_of_larger_arrays(isa):
    held = random_bits(70, 900)
    view = held[::-2, 5:45]
    expected = reference.transpose_packed(np.ascontiguousarray(view), 159)
    room = np.full((159, 40), 7, np.uint8)
    _core.transpose_packed(view, 159, room[:, 3:12], 2)
    np.testing.assert_array_equal(room[:, 3:12], expected)
    room[:, 3:12] = 7
    assert np.all(room == 7)


@pytest.mark.parametrize("count_first", [True, False])
def test_genotypes_from_variants(count_first):
    x = np.random.default_rng(1).integers(-1, 3, (45, 87)).astype(np.int8)
    variants = PackedGenotypes.pack(np.ascontiguousarray(x.T), count_first=count_first)
    packed = PackedGenotypes.from_variants(variants.bits, 45, count_first=count_first)
    assert packed.shape == (45, 87)
    np.testing.assert_array_equal(packed.toarray("int8"), x)
    assert PackedGenotypes.from_variants(variants.bits[:, :0], 0).shape == (0, 87)


@pytest.mark.parametrize(
    ("shape", "n_samples", "message"),
    [
        ((5, 3), 13, r"bits must have shape \(n_features, 4\) for 13 samples, got \(5, 3\)"),
        ((0, 3), 12, r"bits must have shape \(n_features, 3\) for 12 samples, got \(0, 3\)"),
        ((12,), 12, r"bits must have shape \(n_features, 3\) for 12 samples, got \(12,\)"),
        ((5, 3), -1, "n_samples must be a non-negative integer, got -1"),
        ((5, 3), 12.0, "n_samples must be a non-negative integer, got 12.0"),
    ],
)
def test_variants_that_do_not_fit(shape, n_samples, message):
    with pytest.raises(InputError, match=f"^PackedGenotypes.from_variants: {message}"):
        PackedGenotypes.from_variants(np.zeros(shape, np.uint8), n_samples)


@pytest.mark.parametrize(
    ("bits", "n_codes", "out"),
    [
        (np.zeros((5, 3), np.uint8), 13, np.zeros((13, 2), np.uint8)),
        (np.zeros((5, 3), np.uint8), 12, np.zeros((12, 3), np.uint8)),
        (np.zeros((5, 3), np.uint8), 12, np.zeros((11, 2), np.uint8)),
        (np.zeros((5, 3), np.int8), 12, np.zeros((12, 2), np.uint8)),
        (np.zeros((5, 3), np.uint8), 12, np.zeros((12, 2), np.int8)),
        (np.zeros((5, 6), np.uint8)[:, ::2], 12, np.zeros((12, 2), np.uint8)),
        (np.zeros((5, 3), np.uint8), 12, np.zeros((12, 4), np.uint8)[:, ::2]),
        (np.zeros(15, np.uint8), 12, np.zeros((12, 2), np.uint8)),
        (np.zeros((5, 3), np.uint8), 2**62, np.zeros((12, 2), np.uint8)),
        (np.zeros((5, 3), np.uint8), 0, np.zeros((0, 2), np.uint8)),
        (np.zeros((5, 3), np.uint8), 12, np.frombuffer(bytes(24), np.uint8).reshape(12, 2)),
    ],
)
def test_the_extension_checks_its_arguments(bits, n_codes, out):
    with pytest.raises(ValueError, match=r"transpose_packed: (bits|out|n_codes) must be"):
        _core.transpose_packed(bits, n_codes, out, 1)
