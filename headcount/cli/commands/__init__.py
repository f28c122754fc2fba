"""The commands, each a few lines over one public function.

The rooms import torch and transformers, which takes seconds: a command imports them when it runs.
"""
