"""mrisynth: find the best model for turning low-field MRI into high-field MRI, by distributed search."""

__version__ = "0.1.0"
