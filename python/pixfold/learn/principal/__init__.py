"""Jobs without labels that are small enough for principal components."""
