// Can the shim work in a program that is yet to be started?
#pragma once

#include <span>
#include <string>

#include "check/judgement.h"

namespace portpool::check {

// `words`: a command line, at least one word. The first is looked up in PATH unless it has a slash;
// a script is judged by its interpreter; what is started by way of the wrappers that wrapper.h
// knows is what counts. Throws UserError when there is no such program or it cannot be executed.
Judgement judge_command(std::span<const std::string> words);

// Whether `name` leads to a file that may be executed, as execvp(3) looks for it.
bool is_program(const std::string& name);

// What the executable at `path` says by itself: machine, linking, libc, Go, io_uring.
void judge_executable(const std::string& path, Judgement& judgement);

}  // namespace portpool::check
