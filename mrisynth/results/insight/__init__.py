"""What a search learned, from its index alone: numpy and pyarrow, no torch, no ray, no optuna, no scikit-learn.

Each module answers one question; `summary.insight` asks them all.
"""
