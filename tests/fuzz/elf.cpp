// Programs and scripts that poold check is to judge.
#include "check/elf.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/descriptor.h"
#include "check/script.h"
#include "fuzz/input.h"

using namespace portpool;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Descriptor file(memfd_create("fuzz", MFD_CLOEXEC));
  static const std::string path = fmt::format("/proc/self/fd/{}", file.get());
  fuzz::require(ftruncate(file.get(), 0) == 0);
  fuzz::require(pwrite(file.get(), data, size, 0) == static_cast<ssize_t>(size));
  if (const auto facts = check::read_elf(path)) {
    fuzz::require(facts->bits == 32 || facts->bits == 64);
    fuzz::require(facts->needed.size() <= 1024 && facts->interpreter.size() < 4096);
    fuzz::require(!check::name_of_machine(*facts).empty());
    (void)facts->needs("libc.so");
  }
  if (const auto words = check::command_of_script(path, "/bin/sh")) {
    for (const std::string& word : *words) fuzz::require(word.find('$') == std::string::npos);
  }
  return 0;
}
