"""Ways in: synchronous invocation, whole or streamed, on the fast path, through aiohttp, and embedded.

`frontend` holds what all three share: reading an Invoke request, refusing it in AWS's words, and rendering the reply.
`front` is the server's port: a protocol of our own that serves Invoke itself and hands every other connection to
aiohttp. `streamed` and `eventstream` are InvokeWithResponseStream on all of them; `lifecycle.streaming` has the idea.
`result` and `stream` are what the embedding API returns.
"""
