// ELF files that claim what no linker would write, without a place on disk.
#pragma once

#include <elf.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bit>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "base/descriptor.h"

namespace portpool::test {

// A header of this machine's class and order, then `segments`, then `rest`.
class ElfFile {
 public:
  ElfFile(const std::vector<Elf64_Phdr>& segments, std::string_view rest,
          Elf64_Ehdr header = Elf64_Ehdr{}) {
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] =
        std::endian::native == std::endian::little ? ELFDATA2LSB : ELFDATA2MSB;
    header.e_machine = own_machine();
    header.e_phoff = sizeof header;
    header.e_phentsize = sizeof(Elf64_Phdr);
    header.e_phnum = static_cast<std::uint16_t>(segments.size());
    append(&header, sizeof header);
    append(segments.data(), segments.size() * sizeof(Elf64_Phdr));
    append(rest.data(), rest.size());
  }

  void resize(off_t size) { EXPECT_EQ(ftruncate(fd_.get(), size), 0); }
  // For children of this process too, as long as this object lives.
  std::string path() const {
    return "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(fd_.get());
  }

 private:
  static std::uint16_t own_machine() {
    Elf64_Ehdr own{};
    const Descriptor file(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    EXPECT_EQ(pread(file.get(), &own, sizeof own, 0), static_cast<ssize_t>(sizeof own));
    return own.e_machine;
  }
  void append(const void* data, std::size_t size) {
    EXPECT_EQ(write(fd_.get(), data, size), static_cast<ssize_t>(size));
  }

  Descriptor fd_{memfd_create("elf", MFD_CLOEXEC)};
};

// Where `rest` begins behind so many segments.
inline std::uint64_t end_of_segments(std::size_t segments) {
  return sizeof(Elf64_Ehdr) + segments * sizeof(Elf64_Phdr);
}

inline Elf64_Phdr elf_segment(std::uint32_t type, std::uint64_t offset, std::uint64_t size) {
  Elf64_Phdr result{};
  result.p_type = type;
  result.p_offset = result.p_vaddr = offset;
  result.p_filesz = size;
  return result;
}

// Needs `count` libraries, whose names all begin at the start of `strings`.
inline ElfFile elf_that_needs(std::size_t count, std::string_view strings) {
  const std::uint64_t at = end_of_segments(2);
  std::vector<Elf64_Dyn> entries(count + 2);
  entries[0].d_tag = DT_STRTAB;
  entries[0].d_un.d_ptr = at + entries.size() * sizeof(Elf64_Dyn);
  entries[1].d_tag = DT_STRSZ;
  entries[1].d_un.d_val = strings.size();
  for (std::size_t i = 2; i < entries.size(); ++i) entries[i].d_tag = DT_NEEDED;
  const std::size_t size = entries.size() * sizeof(Elf64_Dyn);
  std::string rest(reinterpret_cast<const char*>(entries.data()), size);
  rest += strings;
  return ElfFile({elf_segment(PT_LOAD, 0, at + rest.size()), elf_segment(PT_DYNAMIC, at, size)},
                 rest);
}

// `count` interpreters, each of which claims `size` bytes of what comes behind them.
inline ElfFile elf_with_interpreters(std::size_t count, std::uint64_t size, std::string_view rest) {
  return ElfFile(
      std::vector<Elf64_Phdr>(count, elf_segment(PT_INTERP, end_of_segments(count), size)), rest);
}

}  // namespace portpool::test
