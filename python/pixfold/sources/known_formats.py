"""Formats that are known but not read: what each is, and what to do with it."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import NamedTuple

from pixfold.sources.disk.compressed import without_compression


class Advice(NamedTuple):
    """What files of some names are, and what to do with them."""

    endings: tuple[str, ...]
    what: str
    to_do: str


_ONE_SAMPLE = (
    "make one matrix of all samples: tximport in R joins them, nf-core/rnaseq writes salmon.merged.gene_counts.tsv"
)
_ANNDATA = "write it as .h5ad"
_ARRAYS = "make a table of values of it first, such as a .csv of samples x probes: "
_FRAME = "write the table as .csv or .parquet: "

# The first that fits counts. Endings of whole names come before those of formats.
ADVICE = (
    Advice(("quant.sf", "quant.genes.sf"), "Salmon's output of one sample", _ONE_SAMPLE),
    Advice(("abundance.tsv", "abundance.h5"), "kallisto's output of one sample", _ONE_SAMPLE),
    Advice((".genes.results", ".isoforms.results"), "RSEM's output of one sample", _ONE_SAMPLE),
    Advice(("readspergene.out.tab",), "STAR's counts of one sample", "make one matrix of all samples, genes x samples"),
    Advice((".soft",), "SOFT files of GEO", "GEOparse does: GEOparse.get_GEO(filepath=...).pivot_samples('VALUE')"),
    Advice((".pvar", ".psam"), "a file beside PLINK's genotypes by itself", "name the .pgen file"),
    Advice((".bim", ".fam"), "a file beside PLINK's genotypes by itself", "name the .bed file"),
    Advice((".ped", ".map"), "PLINK's text files", "turn them into binary ones with plink --file STEM --make-bed"),
    Advice((".gds",), "GDS", "turn it into PLINK files in R: SNPRelate::snpgdsGDS2BED"),
    Advice((".hap", ".haps", ".legend"), "haplotypes", "turn them into PLINK files with plink2 --haps"),
    Advice((".h5mu",), "MuData", _ANNDATA + ", one modality each: mudata.read(FILE)[MODALITY].write_h5ad(...)"),
    Advice((".loom",), "Loom", _ANNDATA + ": anndata.io.read_loom(FILE).write_h5ad(...)"),
    Advice((".gctx",), "GCTX of CMap", "cmapPy does: cmapPy.pandasGEXpress.parse(FILE).data_df.T"),
    Advice(
        (".rds", ".rdata", ".rda"),
        "files of R",
        "write the matrix in R: data.table::fwrite, or zellkonverter::writeH5AD of a SingleCellExperiment",
    ),
    Advice((".h5seurat", ".qs"), "files of Seurat", _ANNDATA + " in R: zellkonverter or anndataR"),
    Advice((".sas7bdat", ".xpt"), "files of SAS", _FRAME + "pandas.read_sas(FILE)"),
    Advice((".sav", ".por"), "files of SPSS", _FRAME + "pandas.read_spss(FILE)"),
    Advice((".dta",), "files of Stata", _FRAME + "pandas.read_stata(FILE)"),
    Advice((".mat",), "files of MATLAB", "write the matrix as .npy or .npz: scipy.io.loadmat(FILE)"),
    Advice((".pkl", ".pickle"), "Python pickles", "write the data as .csv, .parquet, .h5ad or .npz"),
    Advice((".pt", ".pth", ".safetensors"), "files of tensors", "write the matrix as .npy or .npz"),
    Advice((".idat",), "Illumina arrays", _ARRAYS + "minfi or sesame in R, methylprep in Python"),
    Advice((".cel",), "Affymetrix arrays", _ARRAYS + "affy::rma or oligo::rma in R"),
    Advice((".gpr",), "GenePix arrays", _ARRAYS + "limma::read.maimages in R"),
    Advice((".fcs",), "flow cytometry", _ANNDATA + ": pytometry.io.read_fcs(FILE).write_h5ad(...)"),
    Advice((".mzml", ".mzxml", ".imzml"), "mass spectra", "make a table of samples x peaks first"),
    Advice(
        (".bam", ".sam", ".cram"),
        "aligned reads",
        "count them first: featureCounts or htseq-count for genes, bcftools for variants",
    ),
    Advice((".bw", ".bigwig", ".bedgraph"), "tracks along the genome", "make a table of samples x regions first"),
    Advice((".gtf", ".gff", ".gff3"), "annotations of genes", "name the matrix of values"),
    Advice((".tar", ".tgz", ".7z", ".rar"), "archives", "unpack it and name the file or folder to read"),
    Advice((".json", ".jsonl", ".xml", ".html"), "files that are no tables", "write the data as .csv or .parquet"),
    Advice((".db", ".sqlite", ".duckdb"), "databases", _FRAME + "pandas.read_sql"),
    Advice((".xlsb", ".numbers"), "this kind of spreadsheet", "save it as .xlsx or .csv"),
    Advice((".docx", ".doc", ".pdf"), "documents", "write the data as .csv or .xlsx"),
    Advice((".png", ".jpg", ".jpeg", ".tif", ".tiff"), "pictures", "name a table of numbers"),
)
# Entries of a folder that are looked at, and of the folders in it.
_LOOKED_AT = 1000


def advice_on(path: Path) -> str | None:
    """Say what to do with a file or folder that is not read, by its name; None where that is not known."""
    name = without_compression(path)
    for known in ADVICE:
        if any(name.endswith(end) if end.startswith(".") else name == end for end in known.endings):
            return f"pixfold does not read {known.what}; {known.to_do}"
    return None


def advice_on_folder(path: Path) -> str | None:
    """Say what to do with a folder, by the names of what is in it and in its folders."""
    for entry in sorted(islice(path.iterdir(), _LOOKED_AT)):
        inner = islice(entry.iterdir(), _LOOKED_AT) if entry.is_dir() else ()
        for file in (entry, *sorted(inner)):
            if file.is_file() and (advice := advice_on(file)) is not None:
                return f"the folder holds {file.relative_to(path)}; {advice}"
    return None
