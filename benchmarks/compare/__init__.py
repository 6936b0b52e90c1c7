"""``make compare``: the conversion of pixfold and of others, and the paper's second table."""
