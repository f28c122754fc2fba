"""Ablation of a run's parts on a task's prompts: the values that take the place of a part's output."""
