"""Conversions of pixfold and of other packages compared: time, peak memory, images, and whether they are right."""
