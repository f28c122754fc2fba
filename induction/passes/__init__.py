"""Forward passes: what hooks compute inside a running model, so that only scores leave it."""
