#include "cli/manual_pages.h"

#include <fmt/format.h>

#include <span>

#include "cli/environment.h"
#include "cli/roff.h"
#include "daemon/config_keys.h"
#include "portpool/fallback.h"

namespace portpool {
namespace {

// A page's running text is roff: what is written here is no other's.
constexpr const char* kConfigurationText = R"(.SH DESCRIPTION
The configuration of the daemon, in TOML.
Every key is optional, and so is the file:
.B poold serve
reads it with
.BR \-\-config ;
.B poold run
reads none.
It must be a regular file of at most 1 MiB.
.PP
A file with an error is refused as a whole, with line, column and what was expected.
.B poold check\-config
says so before;
with
.B \-\-against\-host
also what the file would do on this host.
.PP
SIGHUP reads it again.
What is in force then holds for lanes that exist, too, but for the keys that take effect at the next start.
Where the new file is refused, the old configuration stays in force, and the log has a line.
)";

constexpr const char* kConfigurationExample = R"(.SH EXAMPLES
Connections to one service leave from two addresses, the first until its ports are used;
those to another network have their port from the kernel:
.PP
.EX
socket_group = "portpool"
metrics_listen = "127.0.0.1:9481"

[[pool]]
destinations = ["10.66.0.0/16"]
pool = "none"

[[pool]]
name = "edge"
destinations = ["10.0.4.0/24:443"]
sources = ["10.0.0.5", "10.0.0.6"]
.EE
.SH FILES
.TP
.I /etc/portpool/poold.toml
What the packages' unit, poold.service, reads.
.TP
.I /usr/share/doc/poold/docs/configuration.md
All of it at length, beside the other pages of the documentation.
.SH SEE ALSO
.BR poold (8),
.BR poold\-serve (8),
.BR poold\-check\-config (8),
.BR libportpool (7),
.BR ip (7)
)";

constexpr const char* kLibraryText = R"(.SH SYNOPSIS
.EX
poold run \-\- \fICOMMAND\fR
poold enable \fIUNIT\fR
LD_PRELOAD='/usr/$LIB/portpool/libportpool.so' \fICOMMAND\fR
.EE
.SH DESCRIPTION
libportpool.so is preloaded into programs that open many outgoing TCP connections.
It takes the source port of each
.BR connect (2)
from the shared memory of
.BR poold (8),
so that the kernel has no free port to search for;
that search is slow from half of
.I net.ipv4.ip_local_port_range
on.
The kernel decides all the same: a port that is in use after all is refused by it, and another one is tried.
Where anything is in doubt, no daemon is there, or no port is left, the kernel chooses the port as it would without
the library.
.PP
The library attaches to the daemon when the program starts, and later by itself if there was none;
it waits for 50 ms at most.
When the daemon ends, connections that stand are not touched.
The library needs libc.so.6 and nothing else, and writes nothing unless it is told to.
.SH FOR ONE SERVICE
.B poold enable
.I UNIT
writes the drop\-in of a systemd service,
.B poold disable
.I UNIT
removes it; both say what to restart.
The drop\-in sets
.B LD_PRELOAD
and puts the service into the group
.BR portpool ,
whose members may attach.
.I /usr/share/portpool/client.conf
is such a file, to be copied.
.PP
Elsewhere set
.B LD_PRELOAD
for the one program
.RB ( env (1),
a container's environment), not for a login or a whole host.
Daemon and program must be in the same network namespace, and the socket must be in the program's file system.
.B poold check
.I PROGRAM
says before whether the library can get in,
.B poold check
.I PID
afterwards whether it works.
)";

constexpr const char* kLibraryLimits = R"(.SH WHAT IS NOT COVERED
.IP \(bu 2
Programs into which it cannot get: static ones, Go programs that make their own system calls, set\-user\-ID and
set\-group\-ID programs, those with file capabilities.
.IP \(bu 2
Connects that are no call of the C library: by io_uring, by
.BR syscall (2)
or the instruction.
.IP \(bu 2
UDP, AF_UNIX, and sockets that the program has bound to a port of its own choice.
.IP \(bu 2
A program that has put itself under a seccomp filter, from then on.
.IP \(bu 2
Sockets in another network namespace than the daemon's.
.PP
They run as if the library were not there.
.SH THE DYNAMIC LINKER
.BR ld.so (8)
loads what
.B LD_PRELOAD
names, in this order, before all other libraries; several paths are separated by colons or blanks.
.PP
It puts the name of its own folder in place of
.B $LIB
(in single quotes, for it is not for the shell), and so one setting fits programs of 64 and, with the package
lib32portpool1, of 32 bits.
musl's does not.
.PP
A library that cannot be loaded is left out with a line on standard error, and the program runs:
.PP
.EX
ERROR: ld.so: object '...' from LD_PRELOAD cannot be preloaded (...): ignored.
.EE
.PP
In secure\-execution mode (set\-user\-ID, file capabilities) it takes no path with a slash, and says nothing.
What starts other programs with an environment of its own
.RB ( sudo (8),
.B su \-
and
.BR "env \-i" )
takes the variable away.
.PP
.I /etc/ld.so.preload
names libraries for every program of the host.
A damaged file there may keep each of them from starting: prefer one service at a time.
)";

constexpr const char* kLibraryFiles = R"(.SH FILES
.TP
.I /usr/$LIB/portpool/libportpool.so
The library.
.TP
.I /run/portpool/poold.sock
The daemon's socket, unless
.B PORTPOOL_SOCKET
names another one.
.TP
.I /usr/share/portpool/portpool.supp
Suppressions for valgrind's race detectors.
.SH SEE ALSO
.BR poold (8),
.BR poold\-run (8),
.BR poold\-enable (8),
.BR poold\-check (8),
.BR poold\-explain (8),
.BR poold.toml (5),
.BR ld.so (8),
.BR connect (2)
)";

std::string entries_of(std::span<const ConfigKey> keys) {
  std::string entries;
  for (const ConfigKey& key : keys) {
    entries += tagged(in_bold(key.name) + " (" + std::string(key.type) + ")",
                      fmt::format("{} Default: {}.", key.meaning, key.fallback));
  }
  return entries;
}

}  // namespace

std::string configuration_page() {
  return filled(page_heading("poold.toml", 5, "configuration of portpool's daemon") +
                kConfigurationText + ".SH KEYS\nBefore the first [[pool]] or [expect]:\n" +
                entries_of(kConfigKeys) + ".PP\nIn a [[pool]]:\n" + entries_of(kPoolKeys) +
                ".PP\nIn [expect]:\n" + entries_of(kExpectKeys) + kConfigurationExample);
}

std::string library_page() {
  std::string reasons;
  for (const FallbackText& reason : kFallbackTexts) {
    reasons += tagged(in_bold(reason.name), std::string(reason.sentence) + ".");
  }
  return filled(
      page_heading("libportpool", 7, "source ports for a program's outgoing connections") +
      kLibraryText + ".SH ENVIRONMENT\n" + environment_entries() + kLibraryLimits +
      ".SH WHY THE KERNEL CHOSE THE PORT\n.B poold status\nand the metrics count each "
      "connect that was the pool's and took the kernel's path, by reason;\n.B poold "
      "explain\n.I REASON\nsays what to do.\n" +
      reasons + kLibraryFiles);
}

std::string environment_entries() {
  std::string entries;
  for (const Variable& variable : kVariables) {
    entries += tagged(in_bold(variable.name) + " (" + std::string(variable.reader) + ")",
                      variable.meaning);
  }
  return entries;
}

}  // namespace portpool
