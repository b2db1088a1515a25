#include "check/elf.h"

#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <system_error>

#include "base/descriptor.h"

namespace portpool::check {
namespace {

// What is read of a file, whatever it claims: tables far longer than those of real programs, whose
// longest are some hundred entries, and names of the kernel's longest path.
constexpr std::uint64_t kMaxEntries = 4096;
constexpr std::size_t kMaxText = 4096;
constexpr std::size_t kMaxNeeded = 1024;

class File {
 public:
  explicit File(const std::string& path)
      : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    struct stat info {};
    if (!fd_ || fstat(fd_.get(), &info) != 0) {
      throw std::system_error(errno, std::generic_category(), "cannot read " + path);
    }
    // Nothing else is executed, and reading a device may never end.
    if (S_ISREG(info.st_mode)) size_ = static_cast<std::uint64_t>(info.st_size);
  }

  // False: the file ends before.
  bool read(std::uint64_t offset, void* out, std::uint64_t length) const {
    if (offset > size_ || length > size_ - offset) return false;
    return ::pread(fd_.get(), out, length, static_cast<off_t>(offset)) ==
           static_cast<ssize_t>(length);
  }
  // As many whole bytes as there are, at most `length`.
  std::size_t read_some(std::uint64_t offset, void* out, std::size_t length) const {
    if (offset >= size_) return 0;
    const std::uint64_t most = std::min<std::uint64_t>(length, size_ - offset);
    const ssize_t n = ::pread(fd_.get(), out, most, static_cast<off_t>(offset));
    return n > 0 ? static_cast<std::size_t>(n) : 0;
  }
  // Up to the 0 that ends it; empty when `length` and kMaxText bytes hold none.
  std::string text(std::uint64_t offset, std::uint64_t length) const {
    std::array<char, kMaxText> buffer;
    const std::size_t n =
        read_some(offset, buffer.data(), std::min<std::uint64_t>(length, buffer.size()));
    const std::string_view found(buffer.data(), n);
    const std::size_t end = found.find('\0');
    return end == std::string_view::npos ? std::string() : std::string(found.substr(0, end));
  }

 private:
  Descriptor fd_;
  std::uint64_t size_ = 0;
};

struct Elf32 {
  using Header = Elf32_Ehdr;
  using Program = Elf32_Phdr;
  using Section = Elf32_Shdr;
  using Dynamic = Elf32_Dyn;
};
struct Elf64 {
  using Header = Elf64_Ehdr;
  using Program = Elf64_Phdr;
  using Section = Elf64_Shdr;
  using Dynamic = Elf64_Dyn;
};

template <class Entry>
std::vector<Entry> table(const File& file, std::uint64_t offset, std::uint64_t count,
                         std::uint64_t stride) {
  std::vector<Entry> entries;
  if (stride != sizeof(Entry)) return entries;  // the kernel and the loaders refuse it too
  entries.resize(std::min(count, kMaxEntries));
  const std::size_t n = file.read_some(offset, entries.data(), entries.size() * sizeof(Entry));
  entries.resize(n / sizeof(Entry));
  return entries;
}

// The string at `offset` of a table of strings.
std::string string_at(const File& file, std::uint64_t table, std::uint64_t size,
                      std::uint64_t offset) {
  if (offset >= size || table > ~std::uint64_t{0} - offset) return {};
  return file.text(table + offset, size - offset);
}

// Where the loader will find address `where` in the file.
template <class Program>
std::uint64_t offset_of(const std::vector<Program>& segments, std::uint64_t where) {
  for (const Program& segment : segments) {
    if (segment.p_type == PT_LOAD && where >= segment.p_vaddr &&
        where - segment.p_vaddr < segment.p_filesz) {
      return segment.p_offset + (where - segment.p_vaddr);
    }
  }
  return ~std::uint64_t{0};
}

template <class Format>
void read_needed(const File& file, const std::vector<typename Format::Program>& segments,
                 const typename Format::Program& dynamic, ElfFacts& facts) {
  using Entry = typename Format::Dynamic;
  const auto entries =
      table<Entry>(file, dynamic.p_offset, dynamic.p_filesz / sizeof(Entry), sizeof(Entry));
  std::uint64_t strings_at = ~std::uint64_t{0};
  std::uint64_t strings_size = 0;
  for (const Entry& entry : entries) {
    if (entry.d_tag == DT_STRTAB) strings_at = offset_of(segments, entry.d_un.d_ptr);
    if (entry.d_tag == DT_STRSZ) strings_size = entry.d_un.d_val;
  }
  for (const Entry& entry : entries) {
    if (entry.d_tag == DT_NULL || facts.needed.size() == kMaxNeeded) break;
    if (entry.d_tag != DT_NEEDED) continue;
    facts.needed.push_back(string_at(file, strings_at, strings_size, entry.d_un.d_val));
  }
}

template <class Format>
void read_sections(const File& file, const typename Format::Header& header, ElfFacts& facts) {
  const auto sections =
      table<typename Format::Section>(file, header.e_shoff, header.e_shnum, header.e_shentsize);
  if (header.e_shstrndx >= sections.size()) return;
  const auto& names_section = sections[header.e_shstrndx];
  facts.go = std::any_of(sections.begin(), sections.end(), [&](const auto& section) {
    const std::string name =
        string_at(file, names_section.sh_offset, names_section.sh_size, section.sh_name);
    return name == ".go.buildinfo" || name == ".note.go.buildid";
  });
}

template <class Format>
void read_rest(const File& file, ElfFacts& facts) {
  typename Format::Header header;
  if (!file.read(0, &header, sizeof header)) return;
  const auto segments =
      table<typename Format::Program>(file, header.e_phoff, header.e_phnum, header.e_phentsize);
  // The first of each counts, as for the kernel (fs/binfmt_elf.c, load_elf_binary()).
  const auto first = [&](std::uint32_t type) {
    return std::find_if(segments.begin(), segments.end(),
                        [&](const auto& segment) { return segment.p_type == type; });
  };
  if (const auto found = first(PT_INTERP); found != segments.end()) {
    facts.interpreter = file.text(found->p_offset, found->p_filesz);
  }
  if (const auto found = first(PT_DYNAMIC); found != segments.end()) {
    read_needed<Format>(file, segments, *found, facts);
  }
  read_sections<Format>(file, header, facts);
}

}  // namespace

bool ElfFacts::needs(std::string_view library) const {
  return std::any_of(needed.begin(), needed.end(),
                     [&](const std::string& name) { return name.starts_with(library); });
}

std::optional<ElfFacts> read_elf(const std::string& path) {
  const File file(path);
  // Up to e_machine both formats are alike.
  Elf32_Ehdr start{};
  constexpr std::size_t kCommon = offsetof(Elf32_Ehdr, e_version);
  if (!file.read(0, &start, kCommon) || std::memcmp(start.e_ident, ELFMAG, SELFMAG) != 0) {
    return std::nullopt;
  }
  ElfFacts facts;
  facts.bits = start.e_ident[EI_CLASS] == ELFCLASS64 ? 64 : 32;
  facts.machine = start.e_machine;
  constexpr auto kOwnOrder = std::endian::native == std::endian::little ? ELFDATA2LSB : ELFDATA2MSB;
  if (start.e_ident[EI_DATA] != kOwnOrder) return facts;
  if (facts.bits == 64) {
    read_rest<Elf64>(file, facts);
  } else {
    read_rest<Elf32>(file, facts);
  }
  return facts;
}

std::string name_of_machine(const ElfFacts& facts) {
  struct Name {
    std::uint16_t machine;
    const char* text;
  };
  static constexpr std::array kNames{Name{EM_X86_64, "x86-64"},   Name{EM_386, "x86"},
                                     Name{EM_AARCH64, "AArch64"}, Name{EM_ARM, "ARM"},
                                     Name{EM_RISCV, "RISC-V"},    Name{EM_PPC64, "PowerPC 64"},
                                     Name{EM_S390, "S/390"}};
  for (const Name& name : kNames) {
    if (name.machine == facts.machine) return fmt::format("{}-bit {}", facts.bits, name.text);
  }
  return fmt::format("{}-bit machine {}", facts.bits, facts.machine);
}

}  // namespace portpool::check
