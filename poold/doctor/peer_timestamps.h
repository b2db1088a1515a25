// Do the far sides of lanes full of TIME_WAIT have TCP timestamps?
#pragma once

#include "doctor/census.h"
#include "kernel/sock_diag.h"

namespace portpool::doctor {

// For each lane in which a twentieth of the usable ports or more are TIME_WAIT that might be taken
// over: looks at the connections that stand toward the same destination, then at those with the
// same host, whoever opened them. All of them with timestamps, or a destination on this host: yes;
// none of them: no, and then its TIME_WAIT counts as held. Some, or no connection: unknown.
void find_peer_timestamps(Census& census, kernel::SockDiag& sock_diag);

// The lane as it is if none of its TIME_WAIT can be taken over.
Lane without_reuse(Lane lane);

}  // namespace portpool::doctor
