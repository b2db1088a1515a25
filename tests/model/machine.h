// Every order of steps: the real code runs with an atomic type that stops before each operation,
// and all continuations are tried.
//
// Between two operations a thread is a function of what it has read, so a state is the memory and
// what each thread has read so far; one that was met before is not gone on from. Operations on
// places that no two threads share, or that nobody writes, need no order: which places those are is
// found by running, and begun anew when one turns out to be shared.
//
// Memory is either sequentially consistent, or as weak as C++ allows without thin air (a load may
// return any value that coherence and what was acquired allow: the view machine of Kang et al.,
// "A promising semantics", POPL 2017, without promises). Plain stores then have to find the place's
// latest value in their thread's view, or two writers are not ordered, which is reported: with that
// the latest value is always the last in modification order. A sequentially consistent operation
// sees what earlier ones have written to the same place.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace portpool::model {

enum class Memory { sequential, weak };

// What is broken on purpose, to see that it is found.
enum class Mutation {
  none,
  torn,           // a read-modify-write is a load and a store
  relaxed_loads,  // every load is relaxed
  relaxed_stores,
  relaxed_changes,
  no_fences,
};

struct Scenario {
  // Memory as it is at first; called before each run, outside of any thread.
  std::function<void()> reset;
  std::vector<std::function<void()>> threads;
  // After all have ended: what is wrong, or nothing.
  std::function<std::string()> check;
  // How often a thread may be interrupted by another before it ends, over all threads of a run.
  // Negative: any number of times.
  int interruptions = -1;
};

struct Outcome {
  std::string violation;      // of the first run that has one
  std::vector<int> schedule;  // that run: which thread did each step
  std::uint64_t states = 0;
  std::uint64_t runs = 0;
};

Outcome explore(const Scenario& scenario, Memory memory, Mutation mutation = Mutation::none);

// To be called by threads and by check(): what must never be.
void violate(const std::string& what);

// ---- for the atomic type ------------------------------------------------------------------------

enum class Kind { load, store, change };

struct Operation {
  Kind kind;
  const void* place;
  std::memory_order order;
};

// False: no exploration is under way; the operation is an ordinary one.
bool exploring();
std::uint64_t load(const Operation& operation, std::uint64_t now);
// Before the store; afterwards the place has the value.
void store(const Operation& operation, std::uint64_t now, std::uint64_t value);
// Returns the value to be changed; then changed() or, of a comparison that fails, unchanged().
std::uint64_t begin_change(const Operation& operation, std::uint64_t now);
void changed(const Operation& operation, std::uint64_t value);
void unchanged();
void fence(std::memory_order order);
// Whether a change is torn into a load and a store.
bool tears();

}  // namespace portpool::model
