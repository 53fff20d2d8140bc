"""Networks from crops and spectrograms to features, one per modality and step."""
