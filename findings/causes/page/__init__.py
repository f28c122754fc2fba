"""The page on causes, made from run directories: sections in Markdown, and a figure."""
