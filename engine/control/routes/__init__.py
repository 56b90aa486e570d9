"""One file per family of operations: each handler reads a request, asks the registry, renders the answer."""
