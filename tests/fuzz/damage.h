// Parts of a segment written over, element by element, so that each byte of the input hits
// something that is read.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "fuzz/input.h"
#include "portpool/segment.h"

namespace portpool::fuzz {

struct Memory {
  unsigned char* base;
  std::size_t size;
};

class Damage {
 public:
  // The sections are those of `header` as it is now.
  Damage(const StructureHeader& header, Memory structure, Memory hints) {
    structure_ = {{structure, 0, sizeof(StructureHeader), 1}};
    for (const Section& s :
         {header.directory, header.lane_infos, header.pools, header.port_rules, header.history}) {
      structure_.push_back({structure, s.offset, s.stride, s.count});
    }
    hints_ = {{hints, 0, sizeof(HintsHeader), 1}};
    for (const Section& s : {header.requests, header.first_calls, header.bound_ports,
                             header.attached, header.shards, header.lane_hints, header.trace}) {
      hints_.push_back({hints, s.offset, s.stride, s.count});
    }
  }

  void write_hints(Input& input) { write(input, hints_, input.number<std::uint8_t>()); }
  void write_any(Input& input) {
    const auto place = input.number<std::uint8_t>();
    const bool structure = place % 2 == 0;
    write(input, structure ? structure_ : hints_, place / 2);
  }
  void undo() {
    for (; !undo_.empty(); undo_.pop_back()) {
      std::copy(undo_.back().bytes.begin(), undo_.back().bytes.end(), undo_.back().at);
    }
  }

 private:
  struct Place {
    Memory memory;
    std::uint64_t offset;
    std::uint32_t stride;
    std::uint32_t count;
  };
  struct Old {
    unsigned char* at;
    std::vector<unsigned char> bytes;
  };

  void write(Input& input, const std::vector<Place>& places, std::size_t which) {
    const Place& place = places[which % places.size()];
    const std::uint64_t element = input.number<std::uint16_t>() % place.count;
    // Few elements are longer than this reaches; those are reached by the one before.
    const std::uint64_t inside = input.number<std::uint16_t>() * std::uint64_t{4} % place.stride;
    const auto how = input.number<std::uint8_t>();
    const std::uint64_t at = place.offset + element * place.stride + inside;
    // The upper bit: the same byte many times, as whole words of ports are made.
    const std::size_t wanted = (how & 0x80) != 0 ? (how & 0x7FU) * 32U : how % 32U;
    const std::size_t length = std::min<std::size_t>(wanted, place.memory.size - at);
    unsigned char* to = place.memory.base + at;
    undo_.push_back({to, {to, to + length}});
    if ((how & 0x80) != 0) {
      std::memset(to, input.number<std::uint8_t>(), length);
    } else {
      const std::string_view bytes = input.text(length);
      std::copy(bytes.begin(), bytes.end(), to);
    }
  }

  std::vector<Place> structure_;
  std::vector<Place> hints_;
  std::vector<Old> undo_;
};

}  // namespace portpool::fuzz
