"""Data larger than memory: budgets, blocks of samples, one pass that looks at everything."""
