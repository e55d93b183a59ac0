"""Text encoders and where they are found."""
