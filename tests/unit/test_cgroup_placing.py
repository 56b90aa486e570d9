"""Where on v2 the engine's subtree goes, by what is known of its own cgroup and of the hierarchy's top."""

from __future__ import annotations

from engine.sandbox.cgroups.placing import Facts, Place, place

WANTED = frozenset({"memory", "cpu", "pids"})
OWN = "/sys/fs/cgroup/system.slice/lambent.service"
TOP = "/sys/fs/cgroup"


def own(**facts) -> Facts:
    return Facts(**{"directory": OWN, "writable": True, "available": WANTED, "processes": frozenset({100}), **facts})


def top(**facts) -> Facts:
    return Facts(**{"directory": TOP, "real_root": True, "writable": True, "available": WANTED, **facts})


def test_a_delegated_cgroup_is_used_after_moving_its_processes_out_of_the_way():
    facts = own(delegated=True, processes=frozenset({100, 7}))
    assert place(facts, top(writable=False), {100}, WANTED) == Place(OWN, WANTED, move=True)


def test_a_container_may_move_everything_in_it():
    facts = own(namespace_root=True, processes=frozenset({1, 100}))
    assert place(facts, None, {100}, WANTED) == Place(OWN, WANTED, move=True)


def test_a_cgroup_with_nobody_but_the_engine_in_it_is_used():
    facts = own(processes=frozenset({100, 101}))
    assert place(facts, top(), {100, 101, 102}, WANTED) == Place(OWN, WANTED, move=True)


def test_the_root_of_the_hierarchy_hands_on_controllers_in_spite_of_its_processes():
    facts = own(directory=TOP, real_root=True, processes=frozenset(range(1, 200)))
    assert place(facts, None, {100}, WANTED) == Place(TOP, WANTED)


def test_nobody_is_moved_when_no_controller_is_wanted_from_v2():
    assert place(own(processes=frozenset({1, 100})), top(), {100}, ()) == Place(OWN, frozenset())


def test_nobody_is_moved_when_the_controllers_are_handed_on_already():
    facts = own(processes=frozenset(), enabled=WANTED)
    assert place(facts, None, {100}, WANTED) == Place(OWN, WANTED)
    assert place(own(enabled=WANTED, processes=frozenset({5})), None, {100}, WANTED) == Place(OWN, WANTED)


def test_a_shared_cgroup_is_left_alone_and_root_goes_to_the_top():
    facts = own(processes=frozenset({3, 100}))  # an SSH session
    assert place(facts, top(), {100}, WANTED) == Place(TOP, WANTED)


def test_the_top_is_preferred_only_when_it_has_more_to_hand_on():
    assert place(own(delegated=True, available=frozenset({"pids"})), top(), {100}, WANTED) == Place(TOP, WANTED)
    less = top(available=frozenset({"memory"}))
    assert place(own(delegated=True), less, {100}, WANTED) == Place(OWN, WANTED, move=True)


def test_the_top_of_a_mount_that_is_not_the_hierarchys_root_is_no_way_out():
    assert isinstance(place(own(processes=frozenset({3, 100})), top(real_root=False), {100}, WANTED), str)


def test_the_reason_names_who_is_in_the_way_and_what_to_do():
    reason = place(own(processes=frozenset({3, 4, 5, 6, 7, 8, 100})), top(writable=False), {100}, WANTED)
    assert reason == (
        f"{OWN} is shared with other processes (3, 4, 5, 6, 7, ...) and has not been delegated to the engine: "
        "start it with systemd-run --scope -p Delegate=yes (or --user), or as a service with Delegate=yes"
    )


def test_without_permission_the_reason_says_how_to_get_it():
    reason = place(own(writable=False), top(writable=False), {100}, WANTED)
    assert isinstance(reason, str)
    assert OWN in reason
    assert "Delegate=yes" in reason


def test_processes_of_another_pid_namespace_cannot_be_moved():
    reason = place(own(delegated=True, processes=frozenset({0, 100})), None, {100}, WANTED)
    assert isinstance(reason, str)
    assert "another pid namespace" in reason
