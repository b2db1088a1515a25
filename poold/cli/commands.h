// The subcommands. Each adds itself to the program and sets `status` to the exit status when
// chosen.
#pragma once

#include <CLI/CLI.hpp>

namespace portpool {

void add_serve_command(CLI::App& program, int& status);
void add_run_command(CLI::App& program, int& status);
void add_status_command(CLI::App& program, int& status);
void add_version_command(CLI::App& program, int& status);

// --socket, else PORTPOOL_SOCKET, else the default.
void add_socket_option(CLI::App& command, std::string& socket);

}  // namespace portpool
