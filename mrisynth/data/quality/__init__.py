"""Quality control of a prepared store by a person: figures, pictures, a page, and what was decided.

Nothing is imported here: `mrisynth.data.store.prepared` reads decisions, and must not load what draws.
"""
