"""What is known and not read: one line that says what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pixfold.errors import InputError
from pixfold.sources import SUFFIXES, open_source
from pixfold.sources.known_formats import ADVICE

FILES = {
    "x.soft": "GEOparse",
    "x.soft.gz": "GEOparse",
    "quant.sf": "tximport",
    "quant.sf.gz": "tximport",
    "abundance.tsv": "tximport",
    "abundance.h5": "tximport",
    "x.vcf": "plink2 --vcf",
    "x.vcf.gz": "plink2 --vcf",
    "x.bcf": "plink2 --bcf",
    "X.RDS": "data.table::fwrite",
    "x.RData": "writeH5AD",
    "x.loom": "read_loom",
    "x.h5mu": "mudata.read",
    "x.gctx": "cmapPy",
    "x.sas7bdat": "pandas.read_sas",
    "x.sav": "pandas.read_spss",
    "x.mat": "scipy.io.loadmat",
    "x.idat": "minfi",
    "x.CEL.gz": "oligo::rma",
    "x.bam": "featureCounts",
    "x.tar.gz": "unpack it",
    "x.fam": "name the .bed file",
}


@pytest.mark.parametrize("name", FILES)
def test_files(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"anything")
    with pytest.raises(InputError) as caught:
        open_source(path)
    text = str(caught.value)
    assert re.fullmatch(rf"{re.escape(str(path))}: pixfold does not read [^;]+; .*{re.escape(FILES[name])}.*", text)


def test_what_is_read_is_not_among_what_is_not() -> None:
    known = [end for advice in ADVICE for end in advice.endings]
    assert len(known) == len(set(known))
    assert not set(known) & set(SUFFIXES)
    assert all(end == end.lower() for end in known)


@pytest.mark.parametrize("name", ["quant.sf", "abundance.tsv", "abundance.h5"])
def test_folders_of_samples(tmp_path: Path, name: str) -> None:
    for sample in ("s0", "s1"):
        (tmp_path / sample).mkdir()
        (tmp_path / sample / name).write_bytes(b"x")
    with pytest.raises(InputError, match=rf"the folder holds s0/{name}; pixfold does not read .*tximport"):
        open_source(tmp_path)


def test_a_name_that_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(InputError, match=r"the name must end in \.h5ad, .*, got 'x', which holds HDF5") as caught:
        open_source(tmp_path / "x")
    assert ".csv.gz" not in str(caught.value)
