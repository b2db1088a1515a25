#include "observe/top/lanes_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <iterator>
#include <limits>

#include "base/address_text.h"
#include "base/text.h"

namespace portpool {
namespace {

constexpr std::array kNames = {"POOL",  "SOURCE",   "DESTINATION", "PORTS",
                               "USED%", "IN USE",   "WAITING",     "BLOCKED",
                               "FREE",  "REJECTED", "CONN/S",      "TO HALF"};
constexpr std::size_t kColumns = kNames.size();
// What is given room first.
constexpr std::array kByImportance = {
    LaneColumn::destination, LaneColumn::used,         LaneColumn::free,    LaneColumn::in_use,
    LaneColumn::source,      LaneColumn::connect_rate, LaneColumn::to_half, LaneColumn::waiting,
    LaneColumn::rejected,    LaneColumn::capacity,     LaneColumn::blocked, LaneColumn::pool};

// On narrower screens the cell is needed for a column.
constexpr std::size_t kForMark = 60;

constexpr std::size_t index_of(LaneColumn column) { return static_cast<std::size_t>(column); }

bool is_text(LaneColumn column) { return column <= LaneColumn::destination; }

double used_share(const LaneReport& lane) {
  if (lane.counts.capacity == 0) return 1;
  return 1 - static_cast<double>(lane.counts.free) / lane.counts.capacity;
}

double number_of(const LaneReport& lane, LaneColumn column) {
  switch (column) {
    case LaneColumn::capacity:
      return lane.counts.capacity;
    case LaneColumn::used:
      return used_share(lane);
    case LaneColumn::in_use:
      return lane.counts.in_use;
    case LaneColumn::waiting:
      return lane.counts.quarantined;
    case LaneColumn::blocked:
      return lane.counts.blocked;
    case LaneColumn::free:
      return lane.counts.free;
    case LaneColumn::rejected:
      return static_cast<double>(lane.rejections);
    case LaneColumn::connect_rate:
      return lane.connect_rate.value_or(0);
    case LaneColumn::to_half:
      // The soonest first.
      return -lane.to_half.value_or(std::numeric_limits<double>::infinity());
    default:
      return 0;
  }
}

std::string to_half_text(const LaneReport& lane) {
  if (!lane.to_half || *lane.to_half > 99 * 86'400.0) return "-";
  return *lane.to_half <= 0 ? "over" : short_age(*lane.to_half);
}

std::string text_of(const LaneReport& lane, LaneColumn column) {
  switch (column) {
    case LaneColumn::pool:
      return printable(lane.pool);
    case LaneColumn::source:
      return to_text(lane.key.source);
    case LaneColumn::destination:
      return to_text(destination_of(lane.key));
    case LaneColumn::used:
      return fmt::format("{:.1f}", used_share(lane) * 100);
    case LaneColumn::connect_rate:
      return short_rate(number_of(lane, column));
    case LaneColumn::to_half:
      return to_half_text(lane);
    default:
      // A counter that somebody has set to its largest number is rounded up to one too many.
      return short_count(static_cast<std::uint64_t>(std::min(number_of(lane, column), 1e19)));
  }
}

// Below, equal or above, as memcmp() has it: addresses by number, not by their text.
int compare(const Address& a, const Address& b) { return std::memcmp(&a, &b, sizeof a); }

int compare_destinations(const LaneKey& a, const LaneKey& b) {
  const int by_address = compare(a.destination, b.destination);
  return by_address != 0 ? by_address : int{a.destination_port} - int{b.destination_port};
}

int compare(const LaneReport& a, const LaneReport& b, LaneColumn column) {
  switch (column) {
    case LaneColumn::pool:
      return a.pool.compare(b.pool);
    case LaneColumn::source:
      return compare(a.key.source, b.key.source);
    case LaneColumn::destination:
      return compare_destinations(a.key, b.key);
    default:
      const double left = number_of(a, column);
      const double right = number_of(b, column);
      return left > right ? -1 : left < right ? 1 : 0;
  }
}

// What is equal keeps an order of its own, so that rows do not jump about.
bool stands_before(const LaneReport& a, const LaneReport& b, const LaneOrder& order) {
  const int by_column = compare(a, b, order.column);
  if (by_column != 0) return order.reversed ? by_column > 0 : by_column < 0;
  const int by_destination = compare_destinations(a.key, b.key);
  return by_destination != 0 ? by_destination < 0 : compare(a.key.source, b.key.source) < 0;
}

Style style_of(const LaneReport& lane, LaneColumn column) {
  if (column != LaneColumn::used) return Style::plain;
  const double used = used_share(lane);
  return used >= 0.95 ? Style::bad : used >= 0.8 ? Style::warn : Style::plain;
}

std::string column_word(std::size_t index) {
  std::string word = kNames[index];
  for (char& c : word) c = c == ' ' ? '_' : static_cast<char>(std::tolower(c));
  return word;
}

std::size_t number_of_columns(LaneColumns which) {
  return which == LaneColumns::watched ? kColumns : index_of(LaneColumn::connect_rate);
}

bool contains(std::string text, std::string_view lower) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text.find(lower) != std::string::npos;
}

}  // namespace

std::optional<LaneColumn> lane_column(std::string_view name, LaneColumns which) {
  for (std::size_t i = 0; i < number_of_columns(which); ++i) {
    if (column_word(i) == name) return static_cast<LaneColumn>(i);
  }
  return std::nullopt;
}

std::string lane_column_names(LaneColumns which) {
  std::string names;
  const std::size_t count = number_of_columns(which);
  for (std::size_t i = 0; i < count; ++i) {
    names += (i == 0 ? "" : i + 1 == count ? " or " : ", ") + column_word(i);
  }
  return names;
}

std::vector<LaneReport> filtered(const std::vector<LaneReport>& lanes, std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  std::vector<LaneReport> found;
  std::copy_if(lanes.begin(), lanes.end(), std::back_inserter(found), [&](const LaneReport& lane) {
    return contains(text_of(lane, LaneColumn::destination), lower) ||
           contains(text_of(lane, LaneColumn::source), lower) ||
           contains(text_of(lane, LaneColumn::pool), lower);
  });
  return found;
}

LanesView::LanesView(std::vector<LaneReport> lanes, std::size_t width, const LaneOrder& order,
                     bool marked)
    : order_(order),
      marked_(marked && width >= kForMark),
      lanes_(std::move(lanes)),
      widths_(kColumns) {
  std::sort(lanes_.begin(), lanes_.end(),
            [&](const LaneReport& a, const LaneReport& b) { return stands_before(a, b, order_); });
  rows_.reserve(lanes_.size());
  for (const LaneReport& lane : lanes_) {
    Cells cells;
    for (std::size_t i = 0; i < kColumns; ++i) {
      cells.push_back(text_of(lane, static_cast<LaneColumn>(i)));
    }
    rows_.push_back(std::move(cells));
  }
  choose_columns(width);
}

std::string LanesView::name(LaneColumn column) const {
  std::string text = kNames[index_of(column)];
  if (!marked_ || column != order_.column) return text;
  // Of times the soonest stands first.
  const bool ascends = (is_text(column) || column == LaneColumn::to_half) != order_.reversed;
  return text + (ascends ? "^" : "v");
}

std::size_t LanesView::wanted_width(LaneColumn column) const {
  const std::size_t i = index_of(column);
  std::size_t width = name(column).size();
  for (const Cells& cells : rows_) width = std::max(width, cells[i].size());
  return width;
}

void LanesView::choose_columns(std::size_t width) {
  constexpr std::size_t kGap = 1;
  const std::size_t used_width = name(LaneColumn::used).size();
  std::size_t left = width;
  const bool watched = std::any_of(lanes_.begin(), lanes_.end(),
                                   [](const LaneReport& lane) { return lane.to_half.has_value(); });
  for (const LaneColumn column : kByImportance) {
    if (column >= LaneColumn::connect_rate && !watched) continue;
    std::size_t wanted = wanted_width(column);
    if (column == LaneColumn::destination) {
      const std::size_t room = width > used_width + kGap + 8 ? width - used_width - kGap : width;
      wanted = std::min(wanted, room);
    }
    const std::size_t gap = columns_.empty() ? 0 : kGap;
    if (wanted + gap > left) continue;
    left -= wanted + gap;
    widths_[index_of(column)] = wanted;
    columns_.push_back(column);
  }
  std::sort(columns_.begin(), columns_.end());
  // Some air between the columns where there is room.
  const std::size_t air = columns_.empty() ? 0 : std::min<std::size_t>(left / columns_.size(), 2);
  for (const LaneColumn column : columns_) {
    if (column != columns_.front()) widths_[index_of(column)] += is_text(column) ? 0 : air;
    if (is_text(column)) widths_[index_of(column)] += air;
  }
}

std::string LanesView::cell(const std::string& text, LaneColumn column) const {
  const std::size_t width = widths_[index_of(column)];
  const std::string fitting = shortened(text, width);
  return is_text(column) ? fmt::format("{:<{}}", fitting, width)
                         : fmt::format("{:>{}}", fitting, width);
}

Line LanesView::heading() const {
  Line line;
  for (const LaneColumn column : columns_) {
    if (!line.empty()) line.push_back({Style::heading, " "});
    const bool chosen = column == order_.column;
    line.push_back({chosen ? Style::chosen : Style::heading, cell(name(column), column)});
  }
  return line;
}

Line LanesView::row(std::size_t index) const {
  Line line;
  for (const LaneColumn column : columns_) {
    if (!line.empty()) line.push_back({Style::plain, " "});
    line.push_back({style_of(lanes_[index], column), cell(rows_[index][index_of(column)], column)});
  }
  return line;
}

LaneColumn neighbour(const std::vector<LaneColumn>& shown, LaneColumn from, int steps) {
  if (shown.empty()) return from;
  const auto found = std::find(shown.begin(), shown.end(), from);
  const auto count = static_cast<std::ptrdiff_t>(shown.size());
  const std::ptrdiff_t at = found == shown.end() ? 0 : found - shown.begin() + steps;
  return shown[static_cast<std::size_t>((at % count + count) % count)];
}

}  // namespace portpool
