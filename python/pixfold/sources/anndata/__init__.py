"""AnnData in HDF5 and Zarr, and the matrices of 10x Genomics, which are read as AnnData is."""
