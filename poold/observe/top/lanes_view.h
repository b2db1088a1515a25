// The table of lanes: which columns fit, in which order the rows stand.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "observe/report.h"
#include "observe/top/text.h"

namespace portpool {

enum class LaneColumn {
  pool,
  source,
  destination,
  capacity,
  used,
  in_use,
  waiting,
  blocked,
  free,
  rejected,
};

// By the name that stands above it, in small letters and with _ for a blank: "in_use".
std::optional<LaneColumn> lane_column(std::string_view name);
// All of them, for a message.
std::string lane_column_names();

struct LaneOrder {
  LaneColumn column = LaneColumn::used;
  bool reversed = false;  // otherwise numbers from the highest, texts from A
};

class LanesView {
 public:
  // Chooses what fits into `width` cells; the destination always does.
  LanesView(std::vector<LaneReport> lanes, std::size_t width, const LaneOrder& order);

  const std::vector<LaneColumn>& columns() const { return columns_; }
  std::size_t size() const { return rows_.size(); }
  Line heading() const;
  Line row(std::size_t index) const;

 private:
  using Cells = std::vector<std::string>;  // by LaneColumn

  void choose_columns(std::size_t width);
  std::size_t wanted_width(LaneColumn column) const;
  std::string cell(const std::string& text, LaneColumn column) const;

  LaneOrder order_;
  std::vector<LaneReport> lanes_;
  std::vector<Cells> rows_;
  std::vector<LaneColumn> columns_;
  std::vector<std::size_t> widths_;  // by LaneColumn
};

// The column `steps` to the right of `from` among those shown, going round.
LaneColumn neighbour(const std::vector<LaneColumn>& shown, LaneColumn from, int steps);

}  // namespace portpool
