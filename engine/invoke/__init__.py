"""Ways in: synchronous invocation, on the fast path, through aiohttp, and embedded.

`frontend` holds what all three share: reading an Invoke request, refusing it in AWS's words, and rendering the reply.
`front` is the server's port: a protocol of our own that serves Invoke itself and hands every other connection to
aiohttp. `result` is what the embedding API returns.
"""
