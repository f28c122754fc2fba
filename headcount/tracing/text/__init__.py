"""Texts and tokens: what a tokenizer makes of them, their checks, and the tokens that random ones are drawn from."""
