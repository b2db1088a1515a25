// Included before everything else by the compiler (-include): from here on std::atomic is an atomic
// whose operations are steps of machine.h. So shared headers and poold's files are checked as they
// are. Everything that has atomics of its own is included before.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <boost/interprocess/mapped_region.hpp>
#include <chrono>
#include <deque>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "model/machine.h"

namespace portpool::model {

template <class T>
class ScheduledAtomic {
 public:
  static constexpr bool is_always_lock_free = std::atomic<T>::is_always_lock_free;

  ScheduledAtomic() = default;
  constexpr ScheduledAtomic(T value) : value_(value) {}
  ScheduledAtomic(const ScheduledAtomic&) = delete;
  ScheduledAtomic& operator=(const ScheduledAtomic&) = delete;

  T load(std::memory_order order = std::memory_order_seq_cst) const {
    if (!exploring()) return value_;
    return static_cast<T>(model::load({Kind::load, this, order}, bits(value_)));
  }
  operator T() const { return load(); }
  void store(T value, std::memory_order order = std::memory_order_seq_cst) {
    if (exploring()) model::store({Kind::store, this, order}, bits(value_), bits(value));
    value_ = value;
  }
  T operator=(T value) {
    store(value);
    return value;
  }
  T exchange(T value, std::memory_order order = std::memory_order_seq_cst) {
    return change(order, [value](T) { return value; });
  }
  T fetch_and(T with, std::memory_order order = std::memory_order_seq_cst) {
    return change(order, [with](T old) { return static_cast<T>(old & with); });
  }
  T fetch_or(T with, std::memory_order order = std::memory_order_seq_cst) {
    return change(order, [with](T old) { return static_cast<T>(old | with); });
  }
  T fetch_add(T with, std::memory_order order = std::memory_order_seq_cst) {
    return change(order, [with](T old) { return static_cast<T>(old + with); });
  }
  T fetch_sub(T with, std::memory_order order = std::memory_order_seq_cst) {
    return change(order, [with](T old) { return static_cast<T>(old - with); });
  }
  T operator+=(T with) { return static_cast<T>(fetch_add(with) + with); }
  bool compare_exchange_weak(T& expected, T wanted,
                             std::memory_order order = std::memory_order_seq_cst) {
    return compare_exchange_strong(expected, wanted, order);
  }
  // One that fails is taken to have the order of one that succeeds.
  bool compare_exchange_strong(T& expected, T wanted, std::memory_order order,
                               std::memory_order /*failed*/) {
    return compare_exchange_strong(expected, wanted, order);
  }
  bool compare_exchange_strong(T& expected, T wanted,
                               std::memory_order order = std::memory_order_seq_cst) {
    if (!exploring()) {
      const bool same = value_ == expected;
      (same ? value_ : expected) = same ? wanted : value_;
      return same;
    }
    const Operation operation{Kind::change, this, order};
    const T now = static_cast<T>(begin_change(operation, bits(value_)));
    if (now != expected) {
      unchanged();
      expected = now;
      return false;
    }
    changed(operation, bits(wanted));
    value_ = wanted;
    return true;
  }

 private:
  static std::uint64_t bits(T value) { return static_cast<std::uint64_t>(value); }

  template <class F>
  T change(std::memory_order order, F f) {
    if (!exploring()) {
      const T old = value_;
      value_ = f(old);
      return old;
    }
    if (tears()) {
      const T old = load(order);
      store(f(old), order);
      return old;
    }
    const Operation operation{Kind::change, this, order};
    const T old = static_cast<T>(begin_change(operation, bits(value_)));
    changed(operation, bits(f(old)));
    value_ = f(old);
    return old;
  }

  T value_;
};

// Only its address is used, as places are addresses of whole objects.
template <class T>
class ScheduledAtomic<T*> {
 public:
  T* load(std::memory_order = std::memory_order_seq_cst) const { return value_; }
  void store(T* value, std::memory_order = std::memory_order_seq_cst) { value_ = value; }

 private:
  T* value_;
};

}  // namespace portpool::model

namespace std {
using portpool::model::ScheduledAtomic;
inline void scheduled_fence(std::memory_order order) { portpool::model::fence(order); }
}  // namespace std

#define atomic ScheduledAtomic
#define atomic_thread_fence scheduled_fence
