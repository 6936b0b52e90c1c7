"""PLINK 1 files."""
