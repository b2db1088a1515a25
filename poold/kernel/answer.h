// What the kernel says when it is asked: a value; that there is none (no route, no such setting);
// or nothing, because the asking itself failed. An unknown answer is no reason to change anything:
// whoever asked keeps what was known before.
#pragma once

#include <cassert>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

namespace portpool::kernel {

template <class Value>
class Answer {
 public:
  // Implicit, so that functions can return their value as it is.
  Answer(Value value) : value_(std::move(value)) {}  // NOLINT(google-explicit-constructor)

  static Answer absent() { return Answer(); }
  // `why`: what could not be asked or read, and the reason, for the log; not empty.
  static Answer unknown(std::string why) {
    assert(!why.empty());
    Answer answer;
    answer.why_ = std::move(why);
    return answer;
  }

  // A value, or that there is none.
  bool is_known() const { return why_.empty(); }
  bool is_absent() const { return is_known() && !value_; }
  const std::string& why() const { return why_; }

  // Whether there is a value. Not for bool, where that would read as the value itself.
  explicit operator bool() const requires(!std::is_same_v<Value, bool>) {
    return value_.has_value();
  }
  const Value& operator*() const { return *value_; }
  const Value* operator->() const { return &*value_; }
  // For those who show what is there and have nothing to keep.
  const std::optional<Value>& value() const { return value_; }

  friend bool operator==(const Answer& answer, const Value& value) {
    return answer.value_ == value;
  }

 private:
  Answer() = default;

  std::optional<Value> value_;
  std::string why_;  // not empty: unknown
};

}  // namespace portpool::kernel
