"""The first screens of the report: one sentence and one picture, five answers with their figures, the head's page.

`first_screen` joins them; `evidence` says on which task a figure opens, `induction_heads` which heads are called so.
"""
