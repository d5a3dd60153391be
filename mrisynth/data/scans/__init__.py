"""Reading and judging one scan, whatever its format."""
