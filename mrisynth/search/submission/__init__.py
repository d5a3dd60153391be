"""How a sweep gets to a cluster: as a job of a running Ray cluster, a RayJob for Kubernetes, a script for SLURM."""
