"""The sections of the report. Each module fills the template of its name, or makes sections that show views.

The section on attention is made beside this folder, in `attention`, since the explorer in notebooks shows it too.
"""
