"""What a function and the platform said: log records, REPORT lines, stories."""
