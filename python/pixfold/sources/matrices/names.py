"""Names that tell what a column or a row of a matrix is: annotation of features, features, samples, summaries."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# Headers of the column that names the features, in lower case.
FEATURE_COLUMNS = frozenset(
    {
        *("geneid", "gene_id", "gene id", "gene", "genes", "gene_name", "gene name", "gene_symbol", "gene symbol"),
        *("genesymbol", "genename", "symbol", "hgnc_symbol", "hugo_symbol", "ensembl", "ensembl_id", "ensembl_gene_id"),
        *("ensembl_transcript_id", "ensgene", "transcript_id", "transcript", "target_id", "tx", "id_ref", "probe"),
        *("probeid", "probe_id", "probesetid", "probeset_id", "probe_set_id", "probe set id", "targetid", "ilmnid"),
        *("composite element ref", "reporter ref", "cpg", "cpg_id", "cgid", "snp", "snp_id", "rsid", "variant_id"),
        *("mirna", "mirna_id", "protein", "protein_id", "protein ids", "uniprot", "entrez", "entrezid", "entrez_id"),
        *("entrez_gene_id", "gene_short_name", "tracking_id", "feature", "feature_id", "features", "row.names.genes"),
    }
)

# Columns that describe features, also where they hold numbers; in lower case.
ANNOTATION = FEATURE_COLUMNS | {
    *("chr", "chrom", "chromosome", "chromosome_name", "seqnames", "seqname", "start", "end", "strand", "width"),
    *("start_position", "end_position", "position", "pos", "genomic_coordinate", "mapinfo", "map", "locus"),
    *(
        "bp",
        "cm",
        "genetic_distance",
        "a1",
        "a2",
        "ref",
        "alt",
        "length",
        "len",
        "gene_length",
        "genelength",
        "effective_length",
        "efflength",
        "eff_length",
        "exon_length",
    ),
    *("gene_type", "gene_biotype", "biotype", "gene_status", "class_code", "nearest_ref_id", "tss_id", "coverage"),
    *("description", "gene_description", "desc", "gene_title", "gene title", "definition", "accession", "genbank"),
    *("transcript_id(s)", "transcript_ids", "transcript_length", "entrezgene", "entrez gene", "entrezgene_id"),
    *("entrez_gene", "ncbi_gene_id", "geneids", "gene_ids", "havana_gene", "level", "source", "gc", "gc_content"),
    *("unigene", "refseq", "cytoband", "percentage_gene_gc_content", "feature_type", "gene_version", "na_description"),
}

# Those of them that are left as text, whatever they hold.
AS_TEXT = frozenset({"chr", "chrom", "chromosome", "chromosome_name", "seqnames", "seqname"})
# Those that are no samples although all their cells are numbers.
NUMERIC = AS_TEXT | {
    *("start", "end", "strand", "width", "start_position", "end_position", "position", "pos", "genomic_coordinate"),
    *(
        "bp",
        "cm",
        "genetic_distance",
        "mapinfo",
        "length",
        "gene_length",
        "genelength",
        "effective_length",
        "efflength",
        "eff_length",
        "exon_length",
    ),
    *("transcript_length", "entrez", "entrezid", "entrez_id", "entrez_gene_id", "entrezgene", "entrez gene"),
    *("entrezgene_id", "entrez_gene", "ncbi_gene_id", "gene_version", "gc_content", "percentage_gene_gc_content"),
}

# Names of features. Gene symbols look like names of anything, so that only those are taken that every assay has.
FEATURE = re.compile(
    r"ENS(?:[A-Z]{3,4})?[GTPE]\d{11}(?:\.\d+)?(?:_PAR_Y)?(?:[|_:].*)?|FBgn\d{7}|WBGene\d{8}|AT[1-5MC]G\d{5}|"
    r"c[gh]\.?\d{5,8}(?:_[A-Z0-9]+)?|rs\d{3,}(?:[_:].*)?|ILMN_\d{5,}|A_\d\d_P\d{4,}|.{2,}_at|"
    r"hsa-(?:mir|miR|let)-.+|chr(?:\d\d?|X|Y|M|MT)[:_]\d+(?:[-_:].*)?|(?:\d\d?|X|Y|MT):\d{4,}(?:[-_:].*)?|"
    r"[NX][MRP]_\d{6,}(?:\.\d+)?|MSTRG\.\d+|ERCC-\d{5}"
)
_EVERYWHERE = frozenset(
    {
        *("ACTB", "GAPDH", "B2M", "TP53", "MYC", "EGFR", "BRCA1", "BRCA2", "PTEN", "KRAS", "RPLP0", "RPL3"),
        *("RPS6", "EEF1A1", "TUBB", "VIM", "CDK1", "CDK2", "CCND1", "A1BG", "A2M", "AAAS", "AACS", "AAK1"),
        *("AAMP", "AARS", "AARS1", "ABAT", "ABCA1", "ABCB1", "ABCC1", "ABL1", "ACACA", "ACAT1", "ACE", "ACTG1"),
        *("ADA", "ADAM10", "AKT1", "AKT2", "ALB", "ALDOA", "APC", "APOE", "APP", "AR", "ATM", "ATR", "AURKA"),
        *("AXL", "BAX", "BCL2", "BID", "BRAF", "CASP3", "CASP8", "CAT", "CAV1", "CD3E", "CD4", "CD8A", "CD19"),
        *("CD34", "CD44", "CDH1", "CDKN1A", "CDKN2A", "CREB1", "CTNNB1", "DDR1", "DDX11L1", "ENO1", "ERBB2"),
        *("ESR1", "FOS", "FOXO1", "GATA3", "HPRT1", "HRAS", "IL6", "INS", "JAK2", "JUN", "KIT", "MAPK1"),
        *("MKI67", "MTOR", "NFKB1", "NOTCH1", "NRAS", "PAX8", "PCNA", "PIK3CA", "PTPRC", "RB1", "RFC2", "SDHA"),
        *("SOD1", "SOX2", "SRC", "STAT3", "TBP", "TGFB1", "TNF", "TSPAN6", "UBC", "VEGFA", "WASH7P", "XIST"),
        *("YWHAZ", "ZZZ3"),
    }
)
# Names of samples that no feature bears.
SAMPLE = re.compile(
    r"(?:GSM\d+|[SED]RR\d+|[SED]RX\d+|TCGA-.+|GTEX-.+|.*\.(?:bam|sam|cram|CEL|fastq|fq|txt)(?:\.gz)?|"
    r"(?:sample|patient|subject|donor|ctrl|control|case|tumou?r|normal|treated|untreated|s|p)[-_. ]?\d+)",
    re.IGNORECASE,
)

# Rows of counting programs that are sums over reads, and no features.
SUMMARIES = frozenset(
    {
        *("__no_feature", "__ambiguous", "__too_low_aqual", "__not_aligned", "__alignment_not_unique"),
        *("no_feature", "ambiguous", "too_low_aqual", "not_aligned", "alignment_not_unique"),
        *("n_unmapped", "n_multimapping", "n_nofeature", "n_ambiguous"),
    }
)

# Files of one sample: their columns are quantities. What wrote them, and columns that tell.
OF_ONE_SAMPLE = (
    ("kallisto", {"target_id", "est_counts", "tpm"}),
    ("salmon", {"effectivelength", "tpm", "numreads"}),
    ("RSEM", {"effective_length", "expected_count", "tpm"}),
    ("GDC (STAR counts)", {"unstranded", "stranded_first", "stranded_second"}),
    ("StringTie", {"gene id", "coverage", "fpkm", "tpm"}),
)

_LOOKED_AT = 2_000
_OF_ONE_SAMPLE = 50


def some_of(names: Sequence[str]) -> Sequence[str]:
    """Return names from all over a long list, a few thousand at most."""
    return names[:: 1 + len(names) // _LOOKED_AT]


def share_of_features(names: Sequence[str]) -> float:
    """Share of names that look like those of features, as far as some of them tell."""
    known = [bool(FEATURE.fullmatch(name)) or is_summary(name) for name in some_of(names)]
    return sum(known) / len(known) if known else 0.0


def has_known_genes(names: Iterable[str]) -> bool:
    """Tell whether three or more names are symbols of genes that hardly any assay leaves out."""
    return sum(name.upper() in _EVERYWHERE for name in names) >= 3


def is_summary(name: str) -> bool:
    """Tell whether a row is a sum over reads, as htseq-count, STAR and the GDC write them."""
    return name.lower() in SUMMARIES


def program_of_one_sample(columns: Sequence[str]) -> str | None:
    """Name the program whose file of a single sample has these columns."""
    there = {column.lower() for column in columns[:_OF_ONE_SAMPLE]}
    return next((program for program, tell in OF_ONE_SAMPLE if tell <= there), None)
