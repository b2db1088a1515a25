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
  // Only of lanes that are watched.
  connect_rate,
  to_half,
};

// Which columns there are: of a single look, or of lanes that are watched.
enum class LaneColumns { once, watched };
// By the name that stands above it, in small letters and with _ for a blank: "in_use".
std::optional<LaneColumn> lane_column(std::string_view name, LaneColumns which = LaneColumns::once);
// All of them, for a message.
std::string lane_column_names(LaneColumns which = LaneColumns::once);

struct LaneOrder {
  LaneColumn column = LaneColumn::used;
  bool reversed = false;  // otherwise numbers from the highest, texts from A
};

class LanesView {
 public:
  // Chooses what fits into `width` cells; the destination always does.
  // `marked`: the column that the lanes are sorted by ends with v (from the highest, or from Z) or
  // ^ (from the lowest, or from A).
  LanesView(std::vector<LaneReport> lanes, std::size_t width, const LaneOrder& order,
            bool marked = false);

  const std::vector<LaneColumn>& columns() const { return columns_; }
  std::size_t size() const { return rows_.size(); }
  Line heading() const;
  Line row(std::size_t index) const;

 private:
  using Cells = std::vector<std::string>;  // by LaneColumn

  void choose_columns(std::size_t width);
  std::size_t wanted_width(LaneColumn column) const;
  std::string name(LaneColumn column) const;
  std::string cell(const std::string& text, LaneColumn column) const;

  LaneOrder order_;
  bool marked_;
  std::vector<LaneReport> lanes_;
  std::vector<Cells> rows_;
  std::vector<LaneColumn> columns_;
  std::vector<std::size_t> widths_;  // by LaneColumn
};

// Those of `lanes` whose pool, source or destination has `text` in it, whatever its case.
std::vector<LaneReport> filtered(const std::vector<LaneReport>& lanes, std::string_view text);

// The column `steps` to the right of `from` among those shown, going round.
LaneColumn neighbour(const std::vector<LaneColumn>& shown, LaneColumn from, int steps);

}  // namespace portpool
