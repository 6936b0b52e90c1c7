"""Tables: delimited text, Parquet and Arrow, DataFrames; their columns of text; label tables."""
