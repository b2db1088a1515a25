// Manual pages and completions for shells, made of the command line itself (CLI11's model), so that
// they say what --help says.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace portpool {

// In the language of man(7). `command`: one of the program's, or null for the program itself.
std::string manual_page(const CLI::App& program, const CLI::App* command);

// Their names, one a line.
std::string list_of_commands(const CLI::App& program);

std::string bash_completion(const CLI::App& program);
std::string zsh_completion(const CLI::App& program);
std::string fish_completion(const CLI::App& program);

}  // namespace portpool
