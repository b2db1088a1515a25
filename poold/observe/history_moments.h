// Which moments of a stretch of history are worth being told.
#pragma once

#include <ctime>
#include <string>
#include <vector>

#include "observe/history.h"

namespace portpool {

// Indices of points.
struct HistorySpan {
  std::size_t from = 0;
  std::size_t to = 0;
  bool cut = false;  // the record does not reach back so far
};
// Of a record that is not empty().
HistorySpan chosen_span(const HistoryReading& history, const Since& since);

enum class MomentKind { missed, errors, slow, busy, full, still };
const char* name_of(MomentKind kind);

struct Moment {
  MomentKind kind;
  std::size_t at;  // the point at its end
};
// At most one of each kind, in the order of time.
std::vector<Moment> worst_moments(const HistoryReading& history, const HistorySpan& span);
// The point at which some lane was fuller than at any other.
std::size_t fullest_moment(const HistoryReading& history, const HistorySpan& span);

// In seconds. Nothing that calendars do not have: the structure may hold any number.
std::time_t calendar_time(std::uint64_t realtime_ns);

// The commonest error's name; "" without any.
std::string main_error(const Happened& happened);
// Of all paths; NaN without connects.
double p99_us(const Report& report);

}  // namespace portpool
