"""A farm of real programs with a real Prometheus and Alertmanager, on this machine, without containers."""
