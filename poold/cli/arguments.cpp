#include "cli/arguments.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/generated.h"
#include "cli/help.h"
#include "cli/manual_pages.h"
#include "cli/numbers.h"
#include "cli/watch.h"
#include "portpool/handover.h"

namespace portpool {
namespace {

constexpr int kNotUnderstood = 2;

// --socket, else PORTPOOL_SOCKET, else the default.
void add_socket_option(CLI::App& command, std::string& socket) {
  socket = kDefaultSocket;
  command.add_option("--socket", socket, "The daemon's socket")
      ->envname("PORTPOOL_SOCKET")
      ->type_name("PATH")
      ->capture_default_str();
}

// Given without a value it leaves `seconds` empty: the default (cli/watch.h).
CLI::Option* add_watch_option(CLI::App& command, std::string& seconds) {
  return command.add_option("--watch", seconds, "Look again and again, every 5 s or as given")
      ->type_name("SECONDS")
      ->expected(0, 1);
}

void add_sort_option(CLI::App& command, LaneColumns which,
                     const std::function<void(LaneColumn)>& chosen) {
  command
      .add_option_function<std::string>(
          "--sort",
          [which, chosen](const std::string& name) {
            const auto column = lane_column(name, which);
            if (!column) {
              throw CLI::ValidationError(
                  "--sort", fmt::format("\"{}\" is none of {}", name, lane_column_names(which)));
            }
            chosen(*column);
          },
          fmt::format("Lanes by {} [used%]", lane_column_names(which)))
      ->type_name("COLUMN");
}

void add_serve(CLI::App& program, int& status) {
  CLI::App* command = program.add_subcommand("serve", "Run the daemon in the foreground");
  auto options = std::make_shared<ServeOptions>();
  command
      ->add_option("--config", options->config, "Configuration file (TOML); SIGHUP reads it again")
      ->type_name("FILE");
  command
      ->add_option("--socket", options->socket,
                   "Listen here instead of where the configuration says")
      ->envname("PORTPOOL_SOCKET")
      ->type_name("PATH");
  command
      ->add_option("--log-level", options->log_level,
                   "What the log has, whatever the configuration says")
      ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error", "critical", "off"}))
      ->type_name("LEVEL");
  command->add_flag("--take-over", options->take_over,
                    "Go on in the place of the poold that runs there, if one does; SIGUSR2 starts "
                    "a successor with this option");
  command->callback([options, &status] { status = serve_command(*options); });
}

void add_run(CLI::App& program, int& status) {
  CLI::App* command = program.add_subcommand(
      "run", "Run a command under the shim, with a pool of its own or the running one");
  auto options = std::make_shared<RunOptions>();
  add_socket_option(*command, options->socket);
  command
      ->add_option(
          "--mode", options->mode,
          "pool; observe: record latency, change nothing; or ab: both in turn, see compare")
      ->check(CLI::IsMember({"pool", "observe", "ab"}));
  command
      ->add_option("--source", options->sources,
                   "Source addresses of the pool, which is then one of its own")
      ->delimiter(',')
      ->type_name("A,..");
  command->add_option("--report", options->report, "Write a report, one HTML page, at the end")
      ->type_name("FILE.html");
  command->add_option("--json", options->json, "Write the status to this file at the end")
      ->type_name("FILE");
  command->add_option("command", options->command, "The command, after --")
      ->required()
      ->type_name("");
  command->footer("Example: poold run -- nginx -g 'daemon off;'");
  command->callback([options, &status] { status = run_command(*options); });
}

void add_status(CLI::App& program, int& status) {
  CLI::App* command =
      program.add_subcommand("status", "Show counters, latency and lanes of a daemon");
  auto options = std::make_shared<StatusOptions>();
  add_socket_option(*command, options->socket);
  CLI::Option* json = command->add_flag("--json", options->json, "Print JSON");
  CLI::Option* hgrm = command->add_flag(
      "--hgrm", options->hgrm, "Print the latency of connects as an HdrHistogram distribution");
  hgrm->excludes(json);
  const CLI::IsMember routes({"pool", "kernel"});
  command->add_option("--arm", options->arm, "With --hgrm: only connects assigned to this arm")
      ->check(routes)
      ->needs(hgrm);
  command->add_option("--path", options->path, "With --hgrm: only connects that ended on this path")
      ->check(routes)
      ->needs(hgrm);
  add_count_option(*command, "--lanes", options->lanes.most, 0, 1'000'000,
                   "So many lanes, the first in order")
      ->type_name("N")
      ->default_str(std::to_string(options->lanes.most));
  add_sort_option(*command, LaneColumns::once,
                  [options](LaneColumn column) { options->lanes.order.column = column; });
  command
      ->add_flag("--clients", options->clients,
                 "Also list the programs under the library: who is served, and why not")
      ->excludes(hgrm);
  CLI::Option* watch = add_watch_option(*command, options->watch);
  watch->excludes(hgrm);
  command
      ->add_option_function<std::string>(
          "--since",
          [options](const std::string& text) {
            options->since = span_of(text);
            if (options->since) return;
            throw CLI::ValidationError("--since",
                                       fmt::format("\"{}\" is no time like 90s, 10m or 1h", text));
          },
          "What has happened in the last TIME, of the hour that poold keeps: 90s, 10m, 1h")
      ->type_name("TIME")
      ->excludes(hgrm);
  command->callback([options, watch, &status] {
    options->watching = watch->count() > 0;
    status = status_command(*options);
  });
}

void add_check(CLI::App& program, int& status) {
  CLI::App* command = program.add_subcommand(
      "check", "Say whether the shim can work in a program, or works in a process, and why");
  auto options = std::make_shared<CheckOptions>();
  add_socket_option(*command, options->socket);
  command->add_flag("--json", options->json, "Print JSON");
  CLI::Option* all = command->add_flag(
      "--all", options->all, "Every program under the library: is it served, and why not");
  command
      ->add_option("subject", options->subject,
                   "A program, looked up in PATH, or a command line; or a pid")
      ->type_name("PROGRAM|PID")
      ->excludes(all);
  command->footer(
      "Example: poold check -- su - www-data\nExit status: 0 yes, 1 partly, 2 no (or an error), 3 "
      "unknown; of --all: the worst of the programs");
  command->callback([options, &status] {
    if (!options->all && options->subject.empty()) throw CLI::RequiredError("PROGRAM or PID");
    status = check_command(*options);
  });
}

void add_top(CLI::App& program, int& status) {
  CLI::App* command = program.add_subcommand("top", "Watch a daemon's figures on the full screen");
  auto options = std::make_shared<TopOptions>();
  add_socket_option(*command, options->socket);
  CLI::Option* interval = add_number_option(*command, "--interval", options->interval, 0.1, 86'400,
                                            "seconds", "Seconds between two readings")
                              ->type_name("SECONDS")
                              ->default_str(fmt::format("{}", options->interval));
  add_sort_option(*command, LaneColumns::watched,
                  [options](LaneColumn column) { options->order.column = column; });
  command->add_flag("--once", options->once, "Print the figures once, as \"poold status\" does");
  command->footer(
      "Keys: q quit, s < > sort, r reverse, / filter, up down PgUp PgDn scroll, left right back\n"
      "in time, z zoom, g histogram, p pause, h help. Where the output is no terminal it prints "
      "once, or with --interval again and "
      "again.");
  command->callback([options, interval, &status] {
    options->interval_given = interval->count() != 0;
    status = top_command(*options);
  });
}

void add_trace(CLI::App& program, int& status) {
  CLI::App* command =
      program.add_subcommand("trace", "Print one line for each connect call, as it happens");
  auto options = std::make_shared<TraceOptions>();
  add_socket_option(*command, options->socket);
  add_pids_option(*command, "-p,--pid", options->filter.pids, "Only these processes");
  command
      ->add_option_function<std::vector<std::string>>(
          "--destination",
          [options](const std::vector<std::string>& texts) {
            for (const std::string& text : texts) {
              const auto pattern = parse_destination(text);
              if (!pattern) {
                throw CLI::ValidationError(
                    "--destination",
                    fmt::format("\"{}\" is not an address or prefix, with or without a port: "
                                "10.0.0.5, 10.0.4.0/24:443, [2001:db8::1]:80",
                                text));
              }
              options->filter.destinations.push_back(*pattern);
            }
          },
          "Only connects to this address or prefix (and port)")
      ->delimiter(',')
      ->type_name("HOST[:PORT]");
  add_number_option(*command, "--min-us", options->filter.min_us, 0, 1e9, "microseconds",
                    "Only calls that took as long as this")
      ->type_name("US");
  command
      ->add_option("--comm", options->filter.comms,
                   "Only programs of this name (its first 15 bytes)")
      ->delimiter(',')
      ->type_name("NAME");
  command->add_flag("--fail", options->filter.failed,
                    "Only calls that failed (EINPROGRESS is no failure)");
  command->add_flag("--count", options->count,
                    "Print at the end how many calls there were by destination, path or reason, "
                    "and error");
  command->add_flag("-v,--verbose", options->wide, "All columns: more than 80");
  add_number_option(*command, "--duration", options->seconds, 0.001, 1e9, "seconds",
                    "End after so many seconds")
      ->type_name("SECONDS");
  command->add_flag("--json", options->json, "Print each call as a line of JSON");
  command->footer(
      "The path is \"pool\" or \"kernel\"; a reason why it was not the pool stands in its place: "
      "\"poold explain REASON\" tells more. Ctrl-C ends it.");
  command->callback([options, &status] { status = trace_command(*options); });
}

void add_compare(CLI::App& program, int& status) {
  CLI::App* command = program.add_subcommand(
      "compare", "Compare connect() by pool and by kernel, in turn, in randomised time blocks");
  auto options = std::make_shared<CompareOptions>();
  add_socket_option(*command, options->socket);
  add_time_option(*command, "--block", options->block, "20ms", "1h",
                  "How long an arm is in force: 500ms, 2s, 1m [2s]");
  add_time_option(*command, "--duration", options->duration, "240ms", "8760h",
                  "How long to measure [60s; a command: until it ends]. A command that still runs "
                  "then gets SIGTERM");
  const auto output_option = [&](const char* name, OutputChoice& choice, const char* what) {
    return command
        ->add_option(name, choice.file, fmt::format("Print {}, or write it to this file", what))
        ->expected(0, 1)
        ->type_name("[FILE]");
  };
  CLI::Option* json = output_option("--json", options->json, "JSON");
  CLI::Option* markdown = output_option("--markdown", options->markdown, "Markdown");
  CLI::Option* csv = output_option("--csv", options->csv, "every figure as CSV");
  command->add_option("--report", options->report, "Write a report, one HTML page, to this file")
      ->type_name("FILE.html");
  command
      ->add_option("--baseline", options->baseline,
                   "Also compare with an earlier run, whose --json is in this file")
      ->type_name("FILE");
  command
      ->add_option("--fail-if", options->fail_if,
                   "End with status 1 if so: a figure, <, <=, > or >=, a number, like "
                   "'p99_ratio.high<1'. May be given several times")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->type_name("CONDITION");
  add_count_option(
      *command, "--seed", options->seed, 0, std::numeric_limits<std::uint64_t>::max(),
      "Repeats the order of blocks and the intervals of an earlier comparison [random]")
      ->type_name("NUMBER");
  command->add_option("--source", options->sources, "Source addresses of the command's pool")
      ->delimiter(',')
      ->type_name("A,..");
  command->add_option("command", options->command, "A command to run and compare, after --")
      ->type_name("");
  command->footer(
      "Without a command: all programs attached to the running daemon, which goes back to its own "
      "mode at the end. Example: poold compare --report r.html -- wrk -d60s http://10.0.0.7/\n"
      "Exit status: 0; 1 a condition of --fail-if holds; 2 an error; 3 none holds, but one could "
      "not be judged: its figure was not measured. --fail-if 'x<1' lists the figures that there "
      "are.");
  command->callback([options, json, markdown, csv, &status] {
    options->json.wanted = json->count() > 0;
    options->markdown.wanted = markdown->count() > 0;
    options->csv.wanted = csv->count() > 0;
    status = compare_command(*options);
  });
}

void add_doctor(CLI::App& program, int& status) {
  CLI::App* command = program.add_subcommand(
      "doctor", "Say what is wrong with this host's source ports, and what to do");
  auto options = std::make_shared<DoctorOptions>();
  add_socket_option(*command, options->socket);
  command->add_flag("--all", options->all, "Also show the checks that found nothing");
  command->add_flag("--json", options->json, "Print JSON (with --watch: one line for each look)");
  command
      ->add_option("--destination", options->destination,
                   "Explain one destination: who uses its ports, and what comes next")
      ->type_name("HOST:PORT");
  CLI::Option* watch = add_watch_option(*command, options->watch);
  command
      ->add_option("--config", options->config, "Also check the port ranges in this configuration")
      ->type_name("FILE");
  command->footer(
      "Changes nothing, needs neither a daemon nor root (root sees more). Exit status: 0 ok,\n"
      "1 warning, 2 something is wrong, 3 nothing wrong found but not all could be known.");
  command->callback([options, watch, &status] {
    options->watching = watch->count() > 0;
    status = doctor_command(*options);
  });
}

void add_check_config(CLI::App& program, int& status) {
  CLI::App* command = program.add_subcommand(
      "check-config", "Say whether a configuration is valid, and what it would do here");
  auto options = std::make_shared<CheckConfigOptions>();
  command->add_option("file", options->file, "The configuration (TOML)")
      ->required()
      ->type_name("FILE");
  command->add_flag("--against-host", options->against_host,
                    "Hold it against this host: sources, port ranges, and the pool of each "
                    "connection that stands now");
  command->add_flag("--json", options->json, "Print JSON");
  command->footer(
      "Starts nothing and needs no daemon. Exit status: 0 valid, 1 a warning, 2 poold would "
      "refuse\n"
      "it or could use no port, 3 not all could be known.");
  command->callback([options, &status] { status = check_config_command(*options); });
}

std::shared_ptr<EnableOptions> unit_options(CLI::App& command) {
  auto options = std::make_shared<EnableOptions>();
  command.add_option("unit", options->unit, "A service: nginx, or nginx.service")
      ->required()
      ->type_name("UNIT");
  command
      .add_option("--root", options->root, "Of the system to change: an image that is not booted")
      ->check(CLI::ExistingDirectory)
      ->type_name("FOLDER")
      ->capture_default_str();
  return options;
}

void add_enable(CLI::App& program, int& status) {
  CLI::App* command = program.add_subcommand(
      "enable", "Write the drop-in that puts a systemd service under the library");
  const auto options = unit_options(*command);
  add_socket_option(*command, options->socket);
  command->add_option("--mode", options->mode, "observe: record latency, change nothing [pool]")
      ->check(CLI::IsMember({"pool", "observe"}));
  command->add_option("--group", options->group, "Whose members may attach (socket_group)")
      ->type_name("GROUP")
      ->capture_default_str();
  command->footer("Restarts nothing: it prints the command. Run as root.");
  command->callback([options, &status] { status = enable_command(*options); });
}

void add_disable(CLI::App& program, int& status) {
  CLI::App* command =
      program.add_subcommand("disable", "Remove the drop-in that \"poold enable\" wrote");
  const auto options = unit_options(*command);
  command->footer("Restarts nothing: it prints the command. Run as root.");
  command->callback([options, &status] { status = disable_command(*options); });
}

void add_bugreport(CLI::App& program, int& status) {
  CLI::App* command =
      program.add_subcommand("bugreport", "Write one text with what a report of trouble needs");
  auto options = std::make_shared<BugreportOptions>();
  add_socket_option(*command, options->socket);
  command->add_option("--output", options->file, "Write it to this file, not to standard output")
      ->type_name("FILE");
  command->add_option("--config", options->config, "Put this configuration in, too")
      ->type_name("FILE");
  command->add_flag("--hide-addresses", options->hide_addresses,
                    "Write address-1, address-2 in place of addresses that are not loopback's");
  command->footer("Changes nothing; root sees more. It names processes: look through it.");
  command->callback([options, &status] { status = bugreport_command(*options); });
}

void add_explain(CLI::App& program, int& status) {
  CLI::App* command = program.add_subcommand(
      "explain", "Say what a reason of status, trace or the metrics means, and what to do");
  auto options = std::make_shared<ExplainOptions>();
  command->add_flag("--json", options->json, "Print JSON");
  command->add_option("reason", options->name, "A reason's name; without it all are listed")
      ->type_name("REASON");
  command->callback([options, &status] { status = explain_command(*options); });
}

void add_version(CLI::App& program, int& status) {
  CLI::App* command =
      program.add_subcommand("version", "Show versions and the kernel features found here");
  auto options = std::make_shared<VersionOptions>();
  command->add_flag("--json", options->json, "Print JSON");
  command->callback([options, &status] { status = version_command(*options); });
}

// For those who build packages; in nobody's way, and so not listed.
void add_generate(CLI::App& program, int& status) {
  CLI::App* command = program.add_subcommand(
      "generate", "Print the manual page of a command, or a completion for a shell");
  command->group("");
  auto words = std::make_shared<std::vector<std::string>>();
  command
      ->add_option("kind", *words,
                   "man [COMMAND|poold.toml|libportpool], bash, zsh, fish or commands")
      ->required()
      ->expected(1, 2);
  command->callback([words, &program, &status] {
    const std::string& kind = words->front();
    const std::map<std::string, std::string (*)(const CLI::App&)> completions = {
        {"bash", bash_completion},
        {"zsh", zsh_completion},
        {"fish", fish_completion},
        {"commands", list_of_commands}};
    const auto completion = completions.find(kind);
    if (completion != completions.end() && words->size() == 1) {
      fmt::print("{}", completion->second(program));
    } else if (kind == "man" && words->back() == "poold.toml") {
      fmt::print("{}", configuration_page());
    } else if (kind == "man" && words->back() == "libportpool") {
      fmt::print("{}", library_page());
    } else if (kind == "man") {
      const std::vector<const CLI::App*> found =
          std::as_const(program).get_subcommands([&](const CLI::App* one) {
            return words->size() == 2 && one->check_name(words->back());
          });
      if (found.size() + 1 != words->size()) {
        throw UserError("no command is called \"" + words->back() + "\"");
      }
      const CLI::App* of = found.empty() ? nullptr : found.front();
      fmt::print("{}", manual_page(program, of));
    } else {
      throw UserError("expected man, bash, zsh, fish or commands");
    }
    status = 0;
  });
}

}  // namespace

int run_command_line(int argc, char** argv) {
  int status = 0;
  CLI::App program("Source ports for programs that open many outgoing connections.", "poold");
  program.require_subcommand(1);
  program.formatter(std::make_shared<NarrowHelp>());
  // In this order they are listed.
  for (const auto add : {add_serve, add_run, add_status, add_check, add_top, add_trace, add_compare,
                         add_doctor, add_check_config, add_enable, add_disable, add_explain,
                         add_bugreport, add_version, add_generate}) {
    add(program, status);
  }
  program.set_version_flag("--version", "poold " PORTPOOL_VERSION, "Print the version");
  program.failure_message(say_what_is_wrong);
  try {
    std::vector<std::string> words = arranged({argv + 1, argv + argc}, program);
    // As CLI11 wants them.
    std::reverse(words.begin(), words.end());
    program.parse(std::move(words));
  } catch (const CLI::ParseError& error) {
    // Help and version are "errors" too. Not by std::cout, whose failures main() would not see.
    std::ostringstream out;
    std::ostringstream err;
    const int end = program.exit(error, out, err);
    fmt::print("{}", out.str());
    fmt::print(stderr, "{}", err.str());
    return end == 0 ? 0 : kNotUnderstood;
  }
  return status;
}

}  // namespace portpool
