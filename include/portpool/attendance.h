// Who came to poold, and who was expected: one table each of what it tells about them, name and
// sentence.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "portpool/structure.h"

namespace portpool {

struct AttendanceText {
  std::string_view name;  // in JSON and metrics
  std::string_view sentence;
};

// What became of a process that came for the segment.
enum class AttachResult : std::uint32_t { attached, refused_user, refused_netns, gone, count };
inline constexpr std::array kAttachTexts = {
    AttendanceText{"attached", "was given the memory"},
    AttendanceText{"refused_user", "its user may not attach (socket_group)"},
    AttendanceText{"refused_netns", "it is in another network namespace"},
    AttendanceText{"gone", "it had left before its turn came"},
};
inline constexpr std::size_t kAttachRows = static_cast<std::size_t>(AttachResult::count);
static_assert(kAttachTexts.size() == kAttachRows);
static_assert(kAttachRows <= kMostAttachResults);

enum class ExpectedKind : std::uint32_t { unit, program, count };
inline constexpr std::array<std::string_view, 2> kExpectedKinds = {"unit", "program"};
static_assert(kExpectedKinds.size() == static_cast<std::size_t>(ExpectedKind::count));

// How an expected unit or program stands: the best of its processes. From bad to good.
enum class ExpectedState : std::uint32_t {
  unknown,
  absent,
  unattached,
  seccomp,
  observe,
  served,
  count
};
inline constexpr std::array kExpectedTexts = {
    AttendanceText{"unknown", "not looked for yet"},
    AttendanceText{"absent", "no process of it is to be seen"},
    AttendanceText{"not_attached", "it runs, and no process of it has attached to this poold"},
    AttendanceText{"seccomp",
                   "attached, and on the kernel's path, because of a seccomp filter of its own"},
    AttendanceText{"observe", "attached, and on the kernel's path, in mode observe"},
    AttendanceText{"served", "attached and served"},
};
static_assert(kExpectedTexts.size() == static_cast<std::size_t>(ExpectedState::count));

}  // namespace portpool
