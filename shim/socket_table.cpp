// The table of descriptors: chunks of 16,384 words, mapped when the first descriptor of theirs is
// recorded, and in each chunk a count for every 64 words.
//
// Memory order: relaxed throughout. A word is one atomic step, and nothing else is published by it.
// A count follows its word: between the two it is wrong by one, and who forgets a range at that
// moment passes over a descriptor that was being recorded just then, as if it had come a moment
// later. A thread killed, or a process forked, between the two leaves a count wrong by one for
// good: at worst a word is kept that says nothing about the descriptor any more, which everybody
// has to bear (sockets.h). A child of vfork() works on its parent's table; nothing is locked or
// allocated, so that it can be ended anywhere.
#include <sys/mman.h>

#include <atomic>
#include <bit>
#include <cstddef>

#include "portpool/system_call.h"
#include "shim/identity.h"
#include "shim/process.h"
#include "shim/sockets.h"

namespace portpool::shim {
namespace {

constexpr std::size_t kGroup = 64;
constexpr std::size_t kGroups = 256;
constexpr std::size_t kChunk = kGroup * kGroups;
// More than any default hard limit on descriptors: 1,048,576.
constexpr std::size_t kChunks = 64;

struct Chunk {
  // How many words of each group are not 0. It may wrap below 0 for a moment.
  std::atomic<std::uint8_t> recorded[kGroups];
  std::atomic<std::uint64_t> words[kChunk];
};

// Never unmapped.
std::atomic<Chunk*> chunks[kChunks];
std::atomic<bool> closed;

struct Place {
  Chunk* chunk;
  std::size_t index;
};

Place place_of(int fd) {
  const auto index = static_cast<std::size_t>(fd);
  if (fd < 0 || index >= kChunk * kChunks || closed.load(std::memory_order_relaxed)) {
    return {nullptr, 0};
  }
  // Acquire: the memory was mapped before the pointer to it was stored.
  return {chunks[index / kChunk].load(std::memory_order_acquire), index % kChunk};
}

// Of two that map the same chunk at once, one gives its own back.
__attribute__((noinline, cold)) Chunk* add_chunk(std::size_t which) {
  const ErrnoKeeper keep;
  void* memory = map_memory(sizeof(Chunk), PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
  if (memory == MAP_FAILED) return nullptr;
  system_call(SYS_madvise, memory, sizeof(Chunk), MADV_DONTDUMP);
  system_call(SYS_madvise, memory, sizeof(Chunk), MADV_NOHUGEPAGE);
  auto* mine = static_cast<Chunk*>(memory);
  Chunk* there = nullptr;
  if (chunks[which].compare_exchange_strong(there, mine, std::memory_order_acq_rel)) {
    start_identity();
    return mine;
  }
  system_call(SYS_munmap, memory, sizeof(Chunk));
  return there;
}

std::uint64_t exchange(const Place& place, std::uint64_t word) {
  const std::uint64_t before =
      place.chunk->words[place.index].exchange(word, std::memory_order_relaxed);
  std::atomic<std::uint8_t>& count = place.chunk->recorded[place.index / kGroup];
  if (before == 0 && word != 0) count.fetch_add(1, std::memory_order_relaxed);
  if (before != 0 && word == 0) count.fetch_sub(1, std::memory_order_relaxed);
  return before;
}

template <class Visit>
void visit_recorded(Chunk* chunk, std::size_t first, std::size_t last, Visit visit) {
  for (std::size_t index = first; index <= last;) {
    const std::size_t end = (index / kGroup + 1) * kGroup;
    if (chunk->recorded[index / kGroup].load(std::memory_order_relaxed) == 0) {
      index = end;
      continue;
    }
    for (; index < end && index <= last; ++index) {
      const std::uint64_t word = chunk->words[index].load(std::memory_order_relaxed);
      if (word != 0) visit(index, word);
    }
  }
}

void forget_in(Chunk* chunk, std::size_t first, std::size_t last) {
  visit_recorded(chunk, first, last, [chunk](std::size_t index, std::uint64_t) {
    exchange({chunk, index}, 0);
  });
}

}  // namespace

void start_socket_table() {
  if (chunks[0].load(std::memory_order_relaxed) == nullptr) add_chunk(0);
}

void close_socket_table() { closed.store(true, std::memory_order_relaxed); }

SocketState socket_state(int fd) {
  const Place place = place_of(fd);
  if (place.chunk == nullptr) return SocketState{};
  return std::bit_cast<SocketState>(
      place.chunk->words[place.index].load(std::memory_order_relaxed));
}

void set_socket_state(int fd, SocketState state) {
  const auto word = std::bit_cast<std::uint64_t>(state);
  Place place = place_of(fd);
  if (place.chunk == nullptr) {
    // No memory can be had once there is a filter.
    if (word == 0 || fd < 0 || static_cast<std::size_t>(fd) >= kChunk * kChunks || !is_active() ||
        closed.load(std::memory_order_relaxed)) {
      return;
    }
    place = {add_chunk(static_cast<std::size_t>(fd) / kChunk),
             static_cast<std::size_t>(fd) % kChunk};
    if (place.chunk == nullptr) return;
  }
  const std::uint64_t before = place.chunk->words[place.index].load(std::memory_order_relaxed);
  if (before != word) exchange(place, word);
}

SocketState take_socket_state(int fd) {
  const Place place = place_of(fd);
  if (place.chunk == nullptr ||
      place.chunk->words[place.index].load(std::memory_order_relaxed) == 0) {
    return SocketState{};
  }
  return std::bit_cast<SocketState>(exchange(place, 0));
}

int find_promise(std::uint16_t port) {
  int found = -1;
  for (std::size_t which = 0; which < kChunks; ++which) {
    Chunk* chunk = chunks[which].load(std::memory_order_acquire);
    if (chunk == nullptr || closed.load(std::memory_order_relaxed)) continue;
    visit_recorded(chunk, 0, kChunk - 1, [&](std::size_t index, std::uint64_t word) {
      const auto state = std::bit_cast<SocketState>(word);
      if (state.is_promised() && state.port == port) {
        found = static_cast<int>(which * kChunk + index);
      }
    });
  }
  return found;
}

void forget_sockets(unsigned first, unsigned last) {
  constexpr std::size_t kEnd = kChunk * kChunks;
  if (first > last || first >= kEnd) return;
  const std::size_t final = last < kEnd ? last : kEnd - 1;
  for (std::size_t which = first / kChunk; which <= final / kChunk; ++which) {
    Chunk* chunk = chunks[which].load(std::memory_order_acquire);
    if (chunk == nullptr) continue;
    const std::size_t begin = which * kChunk;
    forget_in(chunk, first > begin ? first - begin : 0,
              final < begin + kChunk - 1 ? final - begin : kChunk - 1);
  }
}

void visit_sockets(void (*visit)(int fd, SocketState state)) {
  for (std::size_t which = 0; which < kChunks; ++which) {
    Chunk* chunk = chunks[which].load(std::memory_order_acquire);
    if (chunk == nullptr || closed.load(std::memory_order_relaxed)) continue;
    visit_recorded(chunk, 0, kChunk - 1, [=](std::size_t index, std::uint64_t word) {
      visit(static_cast<int>(which * kChunk + index), std::bit_cast<SocketState>(word));
    });
  }
}

}  // namespace portpool::shim
