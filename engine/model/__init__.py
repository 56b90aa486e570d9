"""What the rooms talk about: function, invocation, limits. Structs without behaviour, no I/O."""
