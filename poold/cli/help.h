// How the command line is met: order of the words, misspelt commands, help that fits 80 columns.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace portpool {

// The words with the command first: "--socket S status" becomes "status --socket S", and "help X"
// becomes "X --help". Throws UserError with the command that was probably meant when the first word
// is none of the program's.
std::vector<std::string> arranged(std::vector<std::string> words, const CLI::App& program);

// CLI::App::failure_message(): what is wrong, and where help is.
std::string say_what_is_wrong(const CLI::App* program, const CLI::Error& error);

class NarrowHelp : public CLI::Formatter {
 public:
  std::string make_help(const CLI::App* app, std::string name,
                        CLI::AppFormatMode mode) const override;
};

}  // namespace portpool
