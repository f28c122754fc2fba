"""The head atlas: what every head does, by many detectors in one pass over random tokens and over text."""
