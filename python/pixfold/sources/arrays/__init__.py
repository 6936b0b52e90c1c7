"""Matrices in memory, in .npy and .npz files and in Dask arrays."""
