# The function that `lambent conform` tells what to do (docs/conform.md).

set count 0

proc handler {text context} {
    set event [json::decode $text]
    switch -- [dict get $event do] {
        verbs {return [json::array [lmap verb {echo fail size count context exit} {json::quote $verb}]]}
        echo {
            # Words have no types in Tcl: the text itself goes back, cut out of the event.
            regexp {^\{\s*"do"\s*:\s*"echo"\s*,\s*"value"\s*:\s*(.*)\}\s*$} $text -> value
            return $value
        }
        fail {error [dict get $event message]}
        size {return [json::quote [string repeat x [dict get $event bytes]]]}
        count {return [incr ::count]}
        context {
            set left [expr {[dict get $context deadlineMs] - [clock milliseconds]}]
            set client null
            regexp {"custom"\s*:\s*(\{[^{}]*\})} [dict get $context client] -> client
            return [json::object [list requestId [json::quote [dict get $context requestId]] \
                arn [json::quote [dict get $context arn]] remainingMs $left \
                traceId [json::quote $::env(_X_AMZN_TRACE_ID)] clientContext $client]]
        }
        exit {exit [dict get $event code]}
    }
}
