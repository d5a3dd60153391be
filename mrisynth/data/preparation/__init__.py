"""From raw pairs to a prepared cohort."""
