"""Small programs that show how pixfold is used; run one with ``python -m pixfold.examples.NAME``."""
