"""A `Model` opened: in memory, streamed from disk, on a server, or on meta."""
