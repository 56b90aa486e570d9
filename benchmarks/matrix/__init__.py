"""``lambent bench --matrix``: every runtime, ours and AWS's client for the same language side by side.

Two engines run for the whole of it, one with its pool of blank sandboxes and one that keeps none (`poolless`). For each
language and memory size the runtimes to compare take turns (A B B A): cold starts with the pool full and empty, then
warm invocations with one client and with four. The emulator runs the same packages where it can. What is compared is
compared turn by turn; a ratio is the median of the turns' ratios.

``measure`` measures, ``page`` makes one page of it that says how it was measured, ``__main__`` is the command.
"""
