"""What lies under a source: files, labels, groups and splits."""
