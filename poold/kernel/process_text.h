// What the files of /proc/PID say (proc(5)), as functions of their text: any text can be tried.
// Names in them are chosen by the process.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace portpool::kernel {

// Field `number`, 3 or more, of /proc/PID/stat: "12 (any name) S 1 ...". Empty: it has none.
std::string_view stat_field(std::string_view stat, int number);
inline constexpr int kParentField = 4;

// The words behind `name` ("Uid:") of that line of /proc/PID/status.
std::vector<std::string_view> status_words(std::string_view status, std::string_view name);

// What is mapped, of a line of /proc/PID/maps: address, rights, offset, device, inode, name. 0: no
// file.
ino_t mapped_inode(std::string_view line);

// The soft limit, of /proc/PID/limits. nullopt: unlimited, or not there.
std::optional<std::uint64_t> open_files_limit_in(std::string_view limits);

}  // namespace portpool::kernel
