// What an executable's ELF headers tell about the dynamic linker's chances.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace portpool::check {

struct ElfFacts {
  std::uint8_t bits = 0;      // 32 or 64
  std::uint16_t machine = 0;  // EM_X86_64 ...
  std::string interpreter;    // the dynamic linker; empty in a static program
  std::vector<std::string> needed;
  bool go = false;  // made by the Go toolchain

  bool needs(std::string_view library) const;  // by the beginning of its name
};

// Reads a bounded part of the file, whatever its headers claim: tables up to 4,096 entries, the
// first 1,024 libraries, names up to 4,095 bytes; longer names are empty. nullopt: not an ELF file,
// not a regular file, or one that ends too early. Only files of this machine's byte order are read
// further than their machine. Throws std::system_error when the file cannot be read.
std::optional<ElfFacts> read_elf(const std::string& path);

std::string name_of_machine(const ElfFacts& facts);

}  // namespace portpool::check
