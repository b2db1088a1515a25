// The kernel's answers to sock_diag, a buffer at a time.
#include "kernel/sock_diag_parse.h"

#include <memory>

#include "fuzz/input.h"

using namespace portpool;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input(data, size);
  const auto sequence = input.number<std::uint8_t>();
  const bool tcp_info = (input.number<std::uint8_t>() & 1) != 0;
  const std::string_view bytes = input.rest();
  // Of exactly that size: what lies behind is not to be touched.
  const auto buffer = std::make_unique<char[]>(bytes.size());
  bytes.copy(buffer.get(), bytes.size());
  std::uint64_t visited = 0;
  const auto visit = [&](const kernel::SocketRecord& record) {
    ++visited;
    fuzz::require(!record.timestamps || tcp_info);
  };
  const kernel::ParsedBuffer parsed =
      kernel::parse_sock_diag(buffer.get(), bytes.size(), sequence, visit, tcp_info);
  fuzz::require(parsed.records == visited && visited <= bytes.size() / 16);
  fuzz::require(parsed.error == 0 || parsed.done);
  fuzz::require(parsed.error >= 0 && parsed.error <= 4095);
  return 0;
}
