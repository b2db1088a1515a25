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

// No header or table of an executable is longer; what claims to be is not read.
constexpr std::uint64_t kMaxPart = std::uint64_t{64} << 20;

class File {
 public:
  explicit File(const std::string& path)
      : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    struct stat info {};
    if (!fd_ || fstat(fd_.get(), &info) != 0) {
      throw std::system_error(errno, std::generic_category(), "cannot read " + path);
    }
    size_ = static_cast<std::uint64_t>(info.st_size);
  }

  // False: the file ends before.
  bool read(std::uint64_t offset, void* out, std::uint64_t length) const {
    if (offset > size_ || length > size_ - offset) return false;
    return ::pread(fd_.get(), out, length, static_cast<off_t>(offset)) ==
           static_cast<ssize_t>(length);
  }
  std::string text(std::uint64_t offset, std::uint64_t length) const {
    if (length > kMaxPart) return {};
    std::string result(length, '\0');
    return read(offset, result.data(), length) ? result : std::string();
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
  if (stride < sizeof(Entry) || count > 0xFFFF) return entries;
  for (std::uint64_t i = 0; i < count; ++i) {
    Entry entry;
    if (!file.read(offset + i * stride, &entry, sizeof entry)) break;
    entries.push_back(entry);
  }
  return entries;
}

std::string string_at(const std::string& strings, std::uint64_t offset) {
  if (offset >= strings.size()) return {};
  return strings.c_str() + offset;  // a std::string ends with 0
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
  const auto entries = table<Entry>(
      file, dynamic.p_offset, std::min<std::uint64_t>(dynamic.p_filesz / sizeof(Entry), 0xFFFF),
      sizeof(Entry));
  std::uint64_t strings_at = ~std::uint64_t{0};
  std::uint64_t strings_size = 0;
  for (const Entry& entry : entries) {
    if (entry.d_tag == DT_STRTAB) strings_at = offset_of(segments, entry.d_un.d_ptr);
    if (entry.d_tag == DT_STRSZ) strings_size = entry.d_un.d_val;
  }
  const std::string strings = file.text(strings_at, strings_size);
  for (const Entry& entry : entries) {
    if (entry.d_tag == DT_NULL) break;
    if (entry.d_tag == DT_NEEDED) facts.needed.push_back(string_at(strings, entry.d_un.d_val));
  }
}

template <class Format>
void read_sections(const File& file, const typename Format::Header& header, ElfFacts& facts) {
  const auto sections =
      table<typename Format::Section>(file, header.e_shoff, header.e_shnum, header.e_shentsize);
  if (header.e_shstrndx >= sections.size()) return;
  const auto& names_section = sections[header.e_shstrndx];
  const std::string names = file.text(names_section.sh_offset, names_section.sh_size);
  facts.go = std::any_of(sections.begin(), sections.end(), [&](const auto& section) {
    const std::string name = string_at(names, section.sh_name);
    return name == ".go.buildinfo" || name == ".note.go.buildid";
  });
}

template <class Format>
void read_rest(const File& file, ElfFacts& facts) {
  typename Format::Header header;
  if (!file.read(0, &header, sizeof header)) return;
  const auto segments =
      table<typename Format::Program>(file, header.e_phoff, header.e_phnum, header.e_phentsize);
  for (const auto& segment : segments) {
    if (segment.p_type == PT_INTERP) {
      facts.interpreter = string_at(file.text(segment.p_offset, segment.p_filesz), 0);
    }
    if (segment.p_type == PT_DYNAMIC) read_needed<Format>(file, segments, segment, facts);
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
