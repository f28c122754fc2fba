"""The tiny trained OPT: its weights and tokenizer, and the code that made them."""
