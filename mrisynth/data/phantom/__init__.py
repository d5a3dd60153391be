"""Cohorts with known truth, and low-field partners for scans that have none."""
