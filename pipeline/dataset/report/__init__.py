"""What a dataset tells people: its card and its quality page."""
