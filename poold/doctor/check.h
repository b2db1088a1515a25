// What one check of the doctor finds.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/number_text.h"

namespace portpool::doctor {

// From harmless to grave.
enum class Status { ok, unknown, warn, fail };

std::string_view name_of(Status status);  // as in JSON: "ok", "unknown", ...

using Json = nlohmann::ordered_json;

struct Check {
  std::string name;
  Status status = Status::ok;
  std::string summary;             // one sentence with its numbers
  std::vector<std::string> lines;  // for people: what else there is to see
  bool tells_when_ok = false;      // the lines are shown even then
  Json evidence = Json::object();  // the numbers, for programs
  std::string fix;                 // what to do, as a command where there is one; empty: nothing
};

// "98.3 %"; "0 %" when there is no whole.
std::string percent(std::uint64_t part, std::uint64_t whole);

// The status that stands for all: the gravest; unknown counts only where nothing is wrong.
Status overall(const std::vector<Check>& checks);
// 0 ok, 1 warn, 2 fail, 3 unknown.
int exit_status(Status status);

}  // namespace portpool::doctor
