#include <fmt/format.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>

#include "base/error.h"
#include "check/program.h"
#include "cli/child.h"
#include "cli/commands.h"
#include "cli/coverage_watch.h"
#include "cli/launch.h"
#include "cli/output_file.h"
#include "cli/tell.h"
#include "compare/block_sampler.h"
#include "compare/comparison.h"
#include "compare/environment.h"
#include "daemon/daemon.h"
#include "daemon/log.h"
#include "daemon/process_setup.h"
#include "kernel/netns.h"
#include "observe/report_text.h"
#include "observe/segment_reader.h"

namespace portpool {
namespace {

namespace fs = std::filesystem;

bool two_arms(const RunOptions& options) { return options.mode == "ab"; }

// The daemon that runs already, if this process may use it.
std::optional<SegmentReader> running_daemon(const std::string& socket) {
  try {
    SegmentReader reader(socket);
    if (read_watched_report(reader.view()).alive() &&
        reader.view().network_namespace().same_as(kernel::current_network_namespace())) {
      return reader;
    }
  } catch (const UserError&) {
    // None, or not for us: a private one it is.
  }
  return std::nullopt;
}

// The command's time cut into blocks, for the report.
class Recording {
 public:
  Recording(EventLoop& loop, const SegmentView& view, const RunOptions& options)
      : view_(view), options_(options), file_(options.report) {
    const auto now = std::chrono::steady_clock::now();
    if (two_arms(options)) {
      sampler_ = BlockSampler::of_arms(view, kDropped, now);
    } else if (file_) {
      sampler_ = BlockSampler::of_slices(view, now);
    }
    if (!sampler_) return;
    const int timer = loop.add_timer([this] { sampler_->tick(std::chrono::steady_clock::now()); });
    loop.repeat_timer(timer, BlockSampler::kTick);
  }

  void finish() {
    if (!sampler_) return;
    sampler_->finish(std::chrono::steady_clock::now());
    Trial trial;
    trial.blocks = sampler_->blocks();
    trial.total = sampler_->total();
    trial.subject = command_line(options_.command);
    trial.environment = describe_environment(read_report(view_));
    if (two_arms(options_)) {
      trial.block_s = std::chrono::duration<double>(kDefaultAbBlock).count();
      trial.dropped_s = std::chrono::duration<double>(kDropped).count();
    }
    const Comparison comparison = compare(trial, two_arms(options_));
    if (two_arms(options_)) tell("\n{}", comparison_as_text(comparison, trial));
    if (!file_) return;
    file_.write(comparison_as_html(comparison, trial));
    tell("Report: {}\n", file_.path());
  }

 private:
  static constexpr std::chrono::milliseconds kDropped = kDefaultAbBlock / 10;

  SegmentView view_;
  const RunOptions& options_;
  OutputFile file_;
  std::optional<BlockSampler> sampler_;
};

constexpr int kNotWritten = 2;

// The command has ended with `status`: what it says of itself goes to the caller, whatever fails
// from here on. But where it was content, and a file that was asked for could not be written, not
// all went well.
int print_end(int status, const Report& report, const std::string& not_covered, OutputFile& json,
              Recording& recording) {
  tell("{}", report_summary(report, not_covered));
  bool written = true;
  try {
    if (json) json.write(report_as_json(report) + "\n");
  } catch (const std::exception& error) {
    tell("poold: {}\n", error.what());
    written = false;
  }
  try {
    recording.finish();
  } catch (const std::exception& error) {
    tell("poold: {}\n", error.what());
    written = false;
  }
  return status != 0 || written ? status : kNotWritten;
}

// It would end before it begins, with words that do not say what to do here.
void warn_of_sanitizer(const check::Judgement& judgement) {
  const char* options = std::getenv("ASAN_OPTIONS");
  if (options != nullptr && std::strstr(options, "verify_asan_link_order=0") != nullptr) return;
  for (const check::Finding& finding : judgement.findings) {
    if (finding.name == "sanitizer") tell("portpool: {}; {}\n", finding.text, finding.fix);
  }
}

// Why the command cannot be covered; empty: it can, as far as its command line tells. The program
// runs all the same; its children may be covered.
std::string say_if_not_covered(const std::vector<std::string>& command) {
  try {
    const check::Judgement judgement = check::judge_command(command);
    warn_of_sanitizer(judgement);
    if (judgement.answer() != check::Answer::no) return {};
    const check::Finding& reason = *judgement.reason();
    tell("portpool: {} runs without the pool. {}.\n", command.front(), reason.text);
    return reason.fix.empty() ? reason.text : fmt::format("{}; {}", reason.text, reason.fix);
  } catch (const UserError&) {
    return {};  // starting it will fail, and say why
  }
}

int run(const RunOptions& options) {
  prepare_to_serve();
  const std::string foreseen = say_if_not_covered(options.command);
  const fs::path library = find_library();
  OutputFile json(options.json);
  Child child;
  EventLoop loop;
  const CoverageWatch watch(loop);
  const auto not_covered = [&] { return foreseen.empty() ? watch.finding() : foreseen; };
  const DaemonLog log(LogLevel::warn);
  // Sources and mode ab are the daemon's business: those of a running one stay as they are.
  const bool own_daemon = two_arms(options) || !options.sources.empty();
  const auto shared = own_daemon ? std::nullopt : running_daemon(options.socket);
  const std::string mode = two_arms(options) ? "" : options.mode;
  if (shared) {
    const Report before = read_report(shared->view());
    Recording recording(loop, shared->view(), options);
    run_to_end(loop, child, options.command, shim_environment(library, options.socket, mode));
    tell("portpool: used the running poold (pid {}); all its clients count\n", before.pid);
    return print_end(child.exit_status(), read_report(shared->view()).since(before), not_covered(),
                     json, recording);
  }
  const PrivateFolder folder;
  Config config = private_config(folder.socket(), options.sources);
  if (two_arms(options)) config.mode = Mode::ab;
  Daemon daemon(loop, config);
  Recording recording(loop, daemon.view(), options);
  run_to_end(loop, child, options.command, shim_environment(library, config.socket, mode));
  return print_end(child.exit_status(), read_report(daemon.view()), not_covered(), json, recording);
}

}  // namespace

int run_command(const RunOptions& options) {
  try {
    return run(options);
  } catch (const CannotStart& problem) {
    tell("poold: {}\n", problem.text);
    return problem.status;
  }
}

}  // namespace portpool
