"""Prometheus, Alertmanager, exporters and Grafana: their configuration and how they start."""
