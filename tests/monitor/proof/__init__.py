"""The proof that dashboards and alerts are true: a real farm, a real Prometheus, a real Alertmanager."""
