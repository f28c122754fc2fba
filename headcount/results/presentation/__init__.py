"""Numbers, records and orders as readers see them: in text, in tables, in the terminal."""
