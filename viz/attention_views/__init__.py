"""Views of attention: in notebooks, and as a page stores it."""
