// The guest `hostile`: attaches as everybody may, and does one kind of attack.
//
//   hostile SOCKET KIND    says "attacks", goes on until the line "stop", and then says
//                          "STORES ROUNDS WORDS COMPLETE FIRST-INCOMPLETE"
#include <poll.h>
#include <unistd.h>

#include <random>

#include "fault/hostile/attack.h"
#include "support/guest.h"

namespace portpool::test {

GUEST(hostile) {
  const AttachedSegment segment(arguments.at(0));
  const auto kind = Attack::kinds().at(arguments.at(1));
  Attack attack(segment, std::random_device{}());
  (attack.*kind)();
  say("attacks");
  pollfd input{STDIN_FILENO, POLLIN, 0};
  // At least one round: on a busy machine the word comes early.
  while (poll(&input, 1, 0) == 0 || attack.rounds() == 0) (attack.*kind)();
  await_line();
  const Coverage& coverage = attack.coverage();
  say(std::to_string(attack.stores()) + " " + std::to_string(attack.rounds()) + " " +
      std::to_string(coverage.words()) + " " + std::to_string(coverage.complete()) + " " +
      std::to_string(coverage.first_incomplete()));
}

}  // namespace portpool::test
