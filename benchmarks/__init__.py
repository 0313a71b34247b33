"""Measurements of the platform against ground truth and against its bare engines; `python -m benchmarks` lists them."""
