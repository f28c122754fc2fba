"""Results as files: whole or not at all, with a checksum."""
