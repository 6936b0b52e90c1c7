"""Stores that pixfold pack wrote."""
