"""The same measurements over the training of one model."""
