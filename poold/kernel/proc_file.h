// Files under /proc, whose length is not known before, and what they are made of.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace portpool::kernel {

// All that execve(2) lets a program be given; what it makes of it later may be longer
// (fs/exec.c, bprm_stack_limits()).
inline constexpr std::size_t kMaxEnvironment = std::size_t{6} << 20;

// nullopt with errno set: it cannot be opened or read. `limit`: where to stop, in bytes.
std::optional<std::string> read_proc_file(const std::string& path,
                                          std::size_t limit = std::size_t{64} << 20);

// For /proc/PID/maps, which its owner can make hundreds of megabytes long: `visit` gets one line
// after the other, without its end, until it returns false. Takes 32 KiB of memory; a line that is
// longer comes in parts. False with errno set: it cannot be opened or read.
bool visit_lines(const std::string& path, const std::function<bool(std::string_view line)>& visit);

// The strings of cmdline and environ, each of which ends with a 0. They refer to `text`.
std::vector<std::string_view> strings_in(std::string_view text);

// The value of a variable in `environ`: as it was at the start, programs can write over it.
std::optional<std::string> variable_in(std::string_view environ, std::string_view name);

}  // namespace portpool::kernel
