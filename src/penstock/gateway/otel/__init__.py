"""What goes to an OpenTelemetry collector. The only place that imports what the extra `penstock[otel]` installs."""
