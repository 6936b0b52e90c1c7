"""Training, attribution and consensus over runs; the estimators."""
