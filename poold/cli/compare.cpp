#include <fmt/format.h>

#include <cmath>
#include <csignal>
#include <optional>

#include "base/error.h"
#include "base/number_text.h"
#include "cli/commands.h"
#include "cli/comparison_client.h"
#include "cli/launch.h"
#include "cli/output_file.h"
#include "cli/progress.h"
#include "compare/baseline.h"
#include "compare/block_sampler.h"
#include "compare/comparison.h"
#include "compare/condition.h"
#include "compare/environment.h"
#include "compare/figures.h"
#include "daemon/daemon.h"
#include "daemon/log.h"
#include "daemon/process_setup.h"
#include "kernel/netns.h"
#include "observe/segment_reader.h"

namespace portpool {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kDefaultDuration = 60;
// The share of a block that is not counted.
constexpr double kDropped = 0.1;

std::chrono::milliseconds block_length(const CompareOptions& options) {
  return std::chrono::milliseconds(std::lround(options.block * 1000));
}

std::chrono::nanoseconds dropped(const CompareOptions& options) {
  return std::chrono::nanoseconds(std::llround(options.block * kDropped * 1e9));
}

// 0: as many as there will be.
std::size_t pairs(const CompareOptions& options) {
  return static_cast<std::size_t>(options.duration / (2 * options.block) + 1e-9);
}

void check(const CompareOptions& options) {
  if (options.duration > 0 && pairs(options) < kFewestPairs) {
    throw UserError(fmt::format(
        "--duration {} is too short: a verdict needs {} pairs of blocks, which with --block {} "
        "take {}; measure longer, or in shorter blocks",
        seconds_text(options.duration), kFewestPairs, seconds_text(options.block),
        seconds_text(2 * options.block * static_cast<double>(kFewestPairs))));
  }
}

// Ticks the sampler on the loop and shows how far it is; stops everything by `done` once the pairs
// are complete.
class Watch {
 public:
  Watch(EventLoop& loop, const SegmentView& view, const CompareOptions& options,
        std::function<void()> done)
      : options_(options),
        done_(std::move(done)),
        start_(Clock::now()),
        sampler_(BlockSampler::of_arms(view, dropped(options), start_)) {
    const int timer = loop.add_timer([this] { tick(); });
    loop.repeat_timer(timer, BlockSampler::kTick);
  }

  const BlockSampler& sampler() const { return sampler_; }
  void clear_progress() { progress_.clear(); }
  bool complete() const { return pairs(options_) != 0 && sampler_.pairs() >= pairs(options_); }

 private:
  void tick() {
    const Clock::time_point now = Clock::now();
    if (ended_) return;
    sampler_.tick(now);
    if (complete()) {
      ended_ = true;
      return done_();
    }
    if (progress_.due(now)) progress_.show(line(now));
  }

  std::string line(Clock::time_point now) const {
    std::uint64_t connects = 0;
    for (const Block& block : sampler_.blocks()) connects += block.latency.count;
    const auto arm = sampler_.arm();
    const double passed = std::chrono::duration<double>(now - start_).count();
    std::string text = fmt::format("comparing: {} connects, {} in force, ", count_text(connects),
                                   arm ? name_of(*arm) : "nothing");
    if (options_.duration > 0) {
      text += fmt::format("pair {} of {}, {:.0f} s left", sampler_.pairs() + 1, pairs(options_),
                          std::max(0.0, options_.duration - passed));
    } else {
      text += fmt::format("{} pairs of blocks, {:.0f} s", sampler_.pairs(), passed);
    }
    return text;
  }

  const CompareOptions& options_;
  std::function<void()> done_;
  Clock::time_point start_;
  BlockSampler sampler_;
  Progress progress_;
  bool ended_ = false;
};

Trial trial_of(const BlockSampler& sampler, const CompareOptions& options,
               const SegmentView& view) {
  Trial trial;
  trial.blocks = sampler.blocks();
  trial.block_s = options.block;
  trial.dropped_s = options.block * kDropped;
  trial.seed = options.seed != 0 ? options.seed : 1;
  trial.total = sampler.total();
  trial.environment = describe_environment(read_report(view));
  return trial;
}

std::string json_line(const Comparison& comparison, const Trial& trial) {
  return comparison_as_json(comparison, trial) + "\n";
}

// One way to tell a comparison: printed, in a file, or not at all.
struct Output {
  Output(const OutputChoice& choice, std::string (*text_of)(const Comparison&, const Trial&))
      : to_stdout(choice.to_stdout()), file(choice.file), text(text_of) {}
  bool to_stdout;
  OutputFile file;
  std::string (*text)(const Comparison&, const Trial&);
};

// All that a comparison leads to. Whatever can be found wrong with that is found before it begins.
class Outcome {
 public:
  explicit Outcome(const CompareOptions& options)
      : json_(options.json, json_line),
        markdown_(options.markdown, comparison_as_markdown),
        csv_(options.csv, comparison_as_csv),
        report_(options.report) {
    if (json_.to_stdout + markdown_.to_stdout + csv_.to_stdout > 1) {
      throw UserError(
          "only one of --json, --markdown and --csv can be printed; name a file for the others");
    }
    if (!options.baseline.empty()) baseline_.emplace(options.baseline);
    Comparison nothing;
    if (baseline_) nothing.against = baseline_->against(nothing);
    const std::vector<Figure> known = figures_of(nothing);
    for (const std::string& text : options.fail_if) {
      conditions_.push_back(parse_condition(text, known));
    }
  }

  // Tells it all; the exit status.
  int tell(const Trial& trial) {
    Comparison comparison = compare(trial, true);
    if (baseline_) comparison.against = baseline_->against(comparison);
    if (report_) report_.write(comparison_as_html(comparison, trial));
    bool told = false;
    for (Output* output : {&json_, &markdown_, &csv_}) {
      if (output->file) output->file.write(output->text(comparison, trial));
      if (output->to_stdout) fmt::print("{}", output->text(comparison, trial));
      told = told || output->to_stdout;
    }
    if (!told) {
      fmt::print("{}", comparison_as_text(comparison, trial));
      if (report_) fmt::print("Report: {}\n", report_.path());
    }
    return evaluate_all(figures_of(comparison));
  }

 private:
  int evaluate_all(const std::vector<Figure>& figures) const {
    bool one_holds = false;
    bool one_unknown = false;
    for (const Condition& condition : conditions_) {
      const ConditionResult result = evaluate(condition, figures);
      one_holds = one_holds || result.answer == ConditionResult::Answer::holds;
      one_unknown = one_unknown || result.answer == ConditionResult::Answer::not_measured;
      fmt::print(stderr, "poold: --fail-if {}\n", result.sentence);
    }
    return one_holds ? kConditionHolds : one_unknown ? kConditionUnknown : 0;
  }

  static constexpr int kConditionHolds = 1;
  static constexpr int kConditionUnknown = 3;

  Output json_;
  Output markdown_;
  Output csv_;
  OutputFile report_;
  std::optional<Baseline> baseline_;
  std::vector<Condition> conditions_;
};

int compare_running(CompareOptions options) {
  if (options.duration <= 0) options.duration = std::max(kDefaultDuration, 2 * options.block * 10);
  Outcome outcome(options);
  const SegmentReader reader(options.socket);
  if (!reader.view().network_namespace().same_as(kernel::current_network_namespace())) {
    throw UserError("the daemon is in another network namespace; run this command in the same one");
  }
  EventLoop loop;
  std::string remark;
  bool failed = false;
  loop.handle_signals({SIGINT, SIGTERM, SIGHUP}, [&](const signalfd_siginfo&) {
    remark = "Interrupted: what is shown was measured until then.";
    loop.stop();
  });
  const ComparisonClient client(options.socket, block_length(options), options.seed);
  const auto fail = [&](const char* why) {
    remark = why;
    failed = true;
    loop.stop();
  };
  loop.watch(client.fd(), [&] {
    fail("The daemon ended in the middle: what is shown was measured until then.");
  });
  // Blocks vary in length, and a busy machine is late; but a stopped daemon never ends one.
  const int deadline = loop.add_timer([&] {
    fail("The daemon has stopped switching the arms: what is shown was measured until then.");
  });
  loop.set_timer(deadline, std::chrono::seconds(std::lround(options.duration * 1.25) + 10));
  Watch watch(loop, reader.view(), options, [&] { loop.stop(); });
  loop.run();
  watch.clear_progress();
  Trial trial = trial_of(watch.sampler(), options, reader.view());
  trial.subject =
      fmt::format("all programs attached to poold (pid {}) on {}", trial.total.pid, options.socket);
  if (!remark.empty()) trial.remarks.push_back(remark);
  const int status = outcome.tell(trial);
  if (failed) fmt::print(stderr, "poold: {}\n", remark);
  return failed ? 2 : status;
}

int compare_own_command(const CompareOptions& options) {
  const std::filesystem::path library = find_library();
  Outcome outcome(options);
  prepare_to_serve();
  const DaemonLog log(LogLevel::warn);
  Child child;
  EventLoop loop;
  const PrivateFolder folder;
  Config config = private_config(folder.socket(), options.sources);
  config.mode = Mode::ab;
  config.ab_block = block_length(options);
  config.ab_seed = options.seed;
  Daemon daemon(loop, config);
  bool enough = false;
  Watch watch(loop, daemon.view(), options, [&] {
    enough = true;
    child.signal(SIGTERM);
  });
  run_to_end(loop, child, options.command, shim_environment(library, config.socket, ""));
  watch.clear_progress();
  Trial trial = trial_of(watch.sampler(), options, daemon.view());
  trial.subject = command_line(options.command);
  if (options.duration > 0 && !enough) {
    trial.remarks.emplace_back("The command ended before the time was up.");
  }
  if (!enough && child.exit_status() != 0) {
    trial.remarks.push_back(fmt::format("The command ended with status {}.", child.exit_status()));
  }
  return outcome.tell(trial);
}

int run_comparison(const CompareOptions& options) {
  check(options);
  if (options.command.empty() && !options.sources.empty()) {
    throw UserError(
        "--source is for a command of one's own; a running daemon has its configuration");
  }
  return options.command.empty() ? compare_running(options) : compare_own_command(options);
}

}  // namespace

int compare_command(const CompareOptions& options) {
  try {
    return run_comparison(options);
  } catch (const CannotStart& problem) {
    throw UserError(problem.text);
  }
}

}  // namespace portpool
