"""Run the simulation: ``python -m tests.simulation --seed 7 --invocations 1000000``."""

from __future__ import annotations

import argparse
import gc
import random
import sys
import time

from .world import Plan, World


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument(
        "--seed", type=int, default=None, help="replays a story exactly; default: a random one, printed"
    )
    parser.add_argument("--invocations", type=int, default=1_000_000)
    parser.add_argument("--functions", type=int, default=2_000)
    parser.add_argument("--memory-mb", type=int, default=131_072, help="the host's budget")
    parser.add_argument("--check-every", type=int, default=2_000, help="events between full checks")
    parser.add_argument("--story", action="store_true", help="record transitions, to be told if a rule is broken")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(2**32)
    print(f"seed {seed}", flush=True)
    plan = Plan(
        seed=seed,
        invocations=arguments.invocations,
        functions=arguments.functions,
        memory_mb=arguments.memory_mb,
        check_every=arguments.check_every,
        recorded=arguments.story,
    )
    gc.disable()  # nothing here is cyclic garbage worth a pause; a run is over in a minute or two
    began = time.perf_counter()
    report = World(plan).run()
    seconds = time.perf_counter() - began
    for name, value in vars(report).items():
        if name == "outcomes":
            for outcome, count in sorted(value.items(), key=lambda item: -item[1]):
                print(f"  {outcome:28} {count:>12,}")
        else:
            print(f"{name:30} {value:>12,}" if isinstance(value, int) else f"{name:30} {value}")
    print(f"{'real time':30} {seconds:.1f} s, {report.events / seconds:,.0f} events/s, no rule broken")
    return 0


if __name__ == "__main__":
    sys.exit(main())
