"""The sections on agreement: of tasks, of induction and importance, and of ways to measure importance."""
