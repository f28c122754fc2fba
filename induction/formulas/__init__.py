"""The formulas of induction: from patterns, values and losses to scores. They know no model."""
