// What bench/starting/starting.py measures with:
//
//   bench_starter ROUNDS PROGRAM ARM...
//
// An ARM is the environment of PROGRAM: NAME=VALUE words, separated by commas; empty is none. In
// each round every arm has its turn, in random order: PROGRAM is started by posix_spawn() and
// waited for. Prints one line for each arm: the median in microseconds; of the differences to the
// first arm in the same round; of the ratios to it.
#include <spawn.h>
#include <sys/wait.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>
#include <sstream>
#include <string>
#include <vector>

namespace {

struct Arm {
  std::vector<std::string> words;
  std::vector<double> times;
};

Arm arm_of(const std::string& text) {
  Arm arm;
  std::istringstream in(text);
  for (std::string word; std::getline(in, word, ',');) arm.words.push_back(word);
  return arm;
}

double start_once(const char* program, Arm& arm) {
  std::vector<char*> environment;
  for (std::string& word : arm.words) environment.push_back(word.data());
  environment.push_back(nullptr);
  char* arguments[] = {const_cast<char*>(program), nullptr};
  const auto start = std::chrono::steady_clock::now();
  pid_t child = 0;
  int status = 0;
  if (posix_spawn(&child, program, nullptr, nullptr, arguments, environment.data()) != 0 ||
      waitpid(child, &status, 0) != child || status != 0) {
    std::fprintf(stderr, "cannot start %s\n", program);
    std::exit(1);
  }
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start)
      .count();
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<long>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  std::vector<Arm> arms;
  for (int i = 3; i < argc; ++i) arms.push_back(arm_of(argv[i]));
  std::vector<std::size_t> order(arms.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::mt19937 random(std::random_device{}());
  for (int round = std::atoi(argv[1]); round > 0; --round) {
    std::shuffle(order.begin(), order.end(), random);
    for (const std::size_t i : order) arms[i].times.push_back(start_once(argv[2], arms[i]));
  }
  const std::vector<double>& first = arms[0].times;
  for (const Arm& arm : arms) {
    std::vector<double> more(first.size());
    std::vector<double> ratios(first.size());
    for (std::size_t i = 0; i < first.size(); ++i) {
      more[i] = arm.times[i] - first[i];
      ratios[i] = arm.times[i] / first[i];
    }
    std::printf("%.1f %.1f %.3f\n", median(arm.times), median(more), median(ratios));
  }
  return 0;
}
