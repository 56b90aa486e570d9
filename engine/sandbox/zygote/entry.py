"""Shown to the zygote's interpreter as ``bootstrap``: importing it serves the engine, and returns in each new runtime.

By then ``bootstrap`` in `sys.modules` is the runtime's own, which is what the import statement binds.
"""

if __name__ == "bootstrap":
    __import__("sandbox.zygote.program", fromlist=["main"]).main()
