"""Text encoders: loading, encoding, and finding them on disk or on the hub."""
