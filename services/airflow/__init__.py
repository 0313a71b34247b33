"""Airflow's configuration and processes."""
