"""DNA, RNA and protein sequences, one-hot."""
