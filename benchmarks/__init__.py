"""Measures Lambent against the floor and against its peers; the method is in README.md."""
