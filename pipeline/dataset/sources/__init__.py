"""The source of a dataset: its files, labels, groups and splits."""
