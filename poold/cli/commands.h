// The subcommands: what each can be told (cli/arguments.cpp), and the function that does it. It
// returns the exit status, and throws UserError.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "daemon/config.h"
#include "observe/report_text.h"
#include "observe/trace_text.h"

namespace portpool {

struct ServeOptions {
  std::string config;
  std::string socket;     // empty: where the configuration says
  std::string log_level;  // empty: as the configuration says
  bool take_over = false;
};

struct RunOptions {
  std::string socket;
  std::string mode;
  std::string json;
  std::string report;
  std::vector<std::string> sources;
  std::vector<std::string> command;
};

struct StatusOptions {
  std::string socket;
  bool json = false;
  bool hgrm = false;
  std::string arm;   // empty: both
  std::string path;  // empty: both
  ShownLanes lanes;
  bool clients = false;
  std::string watch;  // seconds; empty: the default
  bool watching = false;
  std::optional<std::chrono::seconds> since;  // null: from the segment's beginning
};

struct CheckOptions {
  std::string socket;
  std::vector<std::string> subject;  // a pid, or a program with the words after it
  bool all = false;                  // every program under the library instead
  bool json = false;
};

struct TopOptions {
  std::string socket;
  double interval = 1;  // s
  bool interval_given = false;
  bool once = false;
  LaneOrder order;
};

struct TraceOptions {
  std::string socket;
  TraceFilter filter;
  bool json = false;
  bool count = false;
  bool wide = false;
  double seconds = 0;  // 0: no end
};

// Something that is printed, or written to a file where one is named.
struct OutputChoice {
  bool wanted = false;
  std::string file;  // empty: standard output
  bool to_stdout() const { return wanted && file.empty(); }
};

struct CompareOptions {
  std::string socket;
  double block = std::chrono::duration<double>(kDefaultAbBlock).count();  // s
  double duration = 0;                                                    // s; 0: not given
  OutputChoice json;
  OutputChoice markdown;
  OutputChoice csv;
  std::string report;
  std::string baseline;              // JSON of an earlier comparison; empty: none
  std::vector<std::string> fail_if;  // conditions on figures
  std::uint64_t seed = 0;            // 0: a random one
  std::vector<std::string> sources;
  std::vector<std::string> command;
};

struct DoctorOptions {
  std::string socket;
  std::string config;
  std::string destination;
  std::string watch;  // seconds; empty: the default
  bool all = false;
  bool json = false;
  bool watching = false;
};

struct BugreportOptions {
  std::string socket;
  std::string config;  // empty: none
  std::string file;    // empty: standard output
  bool hide_addresses = false;
};

struct CheckConfigOptions {
  std::string file;
  bool against_host = false;
  bool json = false;
};

struct EnableOptions {  // of disable, too
  std::string unit;
  std::string socket;
  std::string mode;  // empty: what is the default, pool
  std::string group = "portpool";
  std::string root = "/";
};

struct ExplainOptions {
  std::string name;  // empty: all
  bool json = false;
};

struct VersionOptions {
  bool json = false;
};

int serve_command(const ServeOptions& options);
int run_command(const RunOptions& options);
int status_command(const StatusOptions& options);
int check_command(const CheckOptions& options);
int top_command(const TopOptions& options);
int trace_command(const TraceOptions& options);
int compare_command(const CompareOptions& options);
int doctor_command(const DoctorOptions& options);
int check_config_command(const CheckConfigOptions& options);
int enable_command(const EnableOptions& options);
int disable_command(const EnableOptions& options);
int bugreport_command(const BugreportOptions& options);
int explain_command(const ExplainOptions& options);
int version_command(const VersionOptions& options);

// For reports that hold what another command prints.
std::string version_text();
std::string doctor_report(const DoctorOptions& options);

}  // namespace portpool
