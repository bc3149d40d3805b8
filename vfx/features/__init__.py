"""The HDF5 feature file: its schema, reader, writer and views."""
