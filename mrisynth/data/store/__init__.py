"""What preparation leaves on disk, content-addressed."""
