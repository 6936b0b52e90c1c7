"""Genotypes: PLINK 1 and 2, BGEN, VCF Zarr."""
