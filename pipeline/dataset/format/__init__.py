"""The format of a dataset: samples, tars, tables and the marker that commits them."""
