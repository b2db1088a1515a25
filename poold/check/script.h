// Shell scripts that exist to start one program: which is it?
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace portpool::check {

// Of the last `exec PROGRAM ...` in the shell script at `path` the words, as far as they stand
// there (of its first 256 KiB; what the shell would put in is left out from there on). Empty words:
// it does start one, which the shell finds out only then. nullopt: no such line, or no shell
// script.
std::optional<std::vector<std::string>> command_of_script(const std::string& path,
                                                          const std::string& interpreter);

}  // namespace portpool::check
