// Sets of ports in words of 64, as poold keeps them for itself.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "portpool/hints.h"
#include "portpool/port_place.h"

namespace portpool {

// By port_place.h.
using PortBits = std::uint64_t[kPortWords];

// The ports of word `word` that belong to the range, which is not empty.
constexpr std::uint64_t range_bits(const PortRange& range, std::size_t word) {
  const std::uint32_t lowest = port_at(word, 0);
  if (range.high < lowest) return 0;
  const std::uint32_t below = range.low > lowest ? (range.low - lowest + 1) / 2 : 0;
  const std::uint32_t last = (range.high - lowest) / 2;
  if (below > 63) return 0;
  return (~std::uint64_t{0} << below) &
         (last < 63 ? ~std::uint64_t{0} >> (63 - last) : ~std::uint64_t{0});
}

// The same for any range: 0 for an empty one.
constexpr std::uint64_t bits_within(const PortRange& range, std::size_t word) {
  return range.empty() ? 0 : range_bits(range, word);
}

// A set that is empty as a rule: it takes 16 bytes for each word that is not, where PortBits takes
// 8 KiB. Words that are set in ascending order cost nothing to find.
class SparsePorts {
 public:
  std::uint64_t word(std::size_t index) const {
    const auto found = place_of(index);
    return found != words_.end() && found->index == index ? found->bits : 0;
  }

  void set_word(std::size_t index, std::uint64_t bits) {
    const auto found = words_.begin() + (place_of(index) - words_.begin());
    const bool here = found != words_.end() && found->index == index;
    if (bits != 0 && here) {
      found->bits = bits;
    } else if (bits != 0) {
      words_.insert(found, {static_cast<std::uint16_t>(index), bits});
    } else if (here) {
      words_.erase(found);
      if (words_.empty()) words_.shrink_to_fit();
    }
  }

  bool empty() const { return words_.empty(); }

 private:
  struct Word {
    std::uint16_t index;
    std::uint64_t bits;
  };

  std::vector<Word>::const_iterator place_of(std::size_t index) const {
    if (words_.empty() || words_.back().index < index) return words_.end();
    return std::lower_bound(words_.begin(), words_.end(), index,
                            [](const Word& word, std::size_t i) { return word.index < i; });
  }

  std::vector<Word> words_;  // ascending, none of them 0
};

}  // namespace portpool
