# A function to try: it greets, and counts how often this environment was called.

set calls 0

proc handler {event context} {
    set name world
    set event [json::decode $event]
    if {[dict exists $event name]} {set name [dict get $event name]}
    puts "call [incr ::calls] of [dict get $context requestId]"
    return [json::object [list hello [json::quote $name] calls $::calls]]
}
