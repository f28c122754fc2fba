"""Places that models come from: folders, the Hub, the package index, TransformerLens bridges."""
