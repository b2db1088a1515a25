// The command line. This alone knows CLI11, whose headers are large.
#pragma once

namespace portpool {

// Reads the arguments and carries the command out. Returns the exit status of the program, 2 after
// an argument that it does not understand and has said so of. Throws what commands throw.
int run_command_line(int argc, char** argv);

}  // namespace portpool
