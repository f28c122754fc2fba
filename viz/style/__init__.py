"""The look of figures: colours of both themes, text without markup, the class of all figures."""
