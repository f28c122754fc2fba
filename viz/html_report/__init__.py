"""The report: one self-contained HTML file. `page` lists its sections in order, `sections` makes them."""
