"""The dashboards of ffrtmp, as typed values from which Grafana's JSON is made."""
