"""What callers hand over, as plain memory for the kernels: the kind of an array is asked here, once."""
