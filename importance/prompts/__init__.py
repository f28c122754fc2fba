"""Prompts: rows turned into requests, as lm-eval does today or as the paper did."""
