"""Matrices with features as rows and samples as columns: text tables, GEO series matrices, GCT, MAGE-TAB."""
