"""HDF5 stores: what every one has, and one module a kind."""
