// Since when connects go wrong, where they do so now.
#include <algorithm>

#include "observe/history.h"

namespace portpool {
namespace {

// Judged in pieces of at least so many seconds.
constexpr double kPiece = 10;
// A piece with fewer connects says nothing.
constexpr std::uint64_t kTooFew = 10;
// Trouble that nobody has felt for so long is over, or was another one.
constexpr double kGap = 60;
// Altogether; first calls to a few destinations are no trouble.
constexpr std::uint64_t kEnough = 100;
constexpr double kMuchMissed = 0.1;
constexpr double kMuchWithoutPort = 0.01;

std::uint64_t affected(const Happened& happened, TroubleKind kind) {
  return kind == TroubleKind::missed ? happened.missed()
                                     : happened.report.result(ConnectResult::k_eaddrnotavail);
}

bool is_much(const Happened& happened, TroubleKind kind) {
  const double limit = kind == TroubleKind::missed ? kMuchMissed : kMuchWithoutPort;
  return static_cast<double>(affected(happened, kind)) >=
         limit * static_cast<double>(happened.connects());
}

// The point where the piece that ends at `to` begins.
std::size_t begin_of_piece(const HistoryReading& history, std::size_t to) {
  const auto& points = history.points();
  std::size_t from = to;
  while (from > 0 && history.age(points[from]) - history.age(points[to]) < kPiece) --from;
  return from;
}

}  // namespace

std::optional<Trouble> present_trouble(const HistoryReading& history, TroubleKind kind) {
  if (history.empty()) return std::nullopt;
  const std::size_t last = history.points().size() - 1;
  std::optional<std::size_t> began;
  double quiet = history.age(history.points()[last]);
  for (std::size_t to = last; to > 0 && quiet <= kGap;) {
    const std::size_t from = begin_of_piece(history, to);
    const Happened piece = history.between(from, to);
    if (piece.connects() < kTooFew) {
      quiet += piece.seconds;
    } else if (is_much(piece, kind)) {
      began = from;
      quiet = 0;
    } else {
      break;
    }
    to = from;
  }
  if (!began) return std::nullopt;
  const Happened all = history.between(*began, last);
  if (all.connects() < kEnough) return std::nullopt;
  Trouble trouble;
  trouble.began_ns = history.points()[*began].at_ns;
  trouble.seconds = history.age(history.points()[*began]);
  trouble.longer = *began == 0 && !history.begins_with_daemon();
  trouble.affected = affected(all, kind);
  trouble.connects = all.connects();
  if (kind == TroubleKind::missed) trouble.reason = all.main_reason();
  return trouble;
}

}  // namespace portpool
