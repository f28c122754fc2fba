"""A study: everything that is measured on one model, resumably."""
