"""Snapshot to model to probability: arrays in, arrays out; only dataset, registry and predict know the store."""
