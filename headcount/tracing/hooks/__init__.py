"""Activations read and replaced under TransformerLens' hook names."""
