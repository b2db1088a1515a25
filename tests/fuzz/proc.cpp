// What /proc and /sys say: of processes that chose their own names, and of the network.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "base/address_text.h"
#include "base/descriptor.h"
#include "base/text.h"
#include "fuzz/input.h"
#include "kernel/proc_file.h"
#include "kernel/proc_net.h"
#include "kernel/process_identity.h"
#include "kernel/process_text.h"
#include "kernel/sysctl.h"
#include "kernel/time_offsets.h"

using namespace portpool;
using fuzz::require;

namespace {

// Every byte belongs to some line, in order.
void visit_file(std::string_view text) {
  static const Descriptor file(memfd_create("fuzz", MFD_CLOEXEC));
  require(ftruncate(file.get(), 0) == 0);
  require(pwrite(file.get(), text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()));
  const std::string path = fmt::format("/proc/self/fd/{}", file.get());
  std::string seen;
  require(kernel::visit_lines(path, [&](std::string_view line) {
    require(line.find('\n') == std::string_view::npos);
    seen.append(line) += '\n';
    (void)kernel::mapped_inode(line);
    return true;
  }));
  if (!text.empty() && text.size() < 32768) {
    require(seen == std::string(text) + (text.ends_with('\n') ? "" : "\n"));
  }
  require(kernel::read_proc_file(path) == text);
}

void show(std::string_view text) {
  const std::string shown = for_terminal(text);
  require(is_utf8(shown) && for_terminal(shown) == shown);
  require(shown.find_first_of("\n\r\033\x7F") == std::string::npos);
  require(is_utf8(html_escape(text)));
  (void)shell_quote(text);
  for (const char c : printable(std::string(text))) require(c >= 0x20 && c < 0x7F);
}

void parse_addresses(const std::string& text) {
  if (const auto address = parse_address(text))
    require(parse_address(to_text(*address)) == address);
  if (const auto place = parse_endpoint(text)) require(parse_endpoint(to_text(*place)) == place);
  if (const auto prefix = parse_prefix(text)) {
    require(prefix->bits <= 128 && prefix->contains(prefix->base));
    require(to_text(*parse_prefix(to_text(*prefix))) == to_text(*prefix));
    require(prefix->contains(prefix->at(prefix->size(1U << 20) - 1)));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input(data, size);
  const auto kind = input.number<std::uint8_t>() % 10;
  // Copied: what lies behind is not to be touched.
  const std::string text(input.rest());
  switch (kind) {
    case 0:
      visit_file(text);
      break;
    case 1:
      for (int field = 3; field < 60; ++field) {
        require(kernel::stat_field(text, field).find(' ') == std::string_view::npos);
      }
      break;
    case 2:
      for (const char* name : {"Uid:", "Gid:", "Groups:", "NSpid:", "CapEff:", "Seccomp:"}) {
        for (const auto word : kernel::status_words(text, name)) require(!word.empty());
      }
      (void)kernel::open_files_limit_in(text);
      break;
    case 3:
      require(kernel::unit_of(text).size() <= text.size());
      break;
    case 4: {
      std::size_t bytes = 0;
      for (const auto part : kernel::strings_in(text)) bytes += part.size() + 1;
      require(bytes == text.size() || bytes == text.size() + 1);
      if (const auto value = kernel::variable_in(text, "LD_PRELOAD")) {
        require(text.find("LD_PRELOAD=" + *value) != std::string::npos);
      }
      break;
    }
    case 5: {
      const std::size_t half = text.size() / 2;
      (void)kernel::parse_socket_statistics(text.substr(0, half), text.substr(half));
      (void)kernel::parse_netstat(text);
      (void)kernel::parse_conntrack_column(text, "drop");
      break;
    }
    case 6:
      if (const auto ranges = kernel::parse_port_list(text)) {
        for (const auto& range : *ranges) require(!range.empty());
      }
      break;
    case 7:
      (void)kernel::parse_time_offsets(text);
      break;
    case 8:
      show(text);
      break;
    default:
      parse_addresses(text);
  }
  return 0;
}
