#include "base/mapping.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>

#include "base/descriptor.h"

namespace portpool::test {
namespace {

TEST(Mapping, OutlivesTheDescriptor) {
  Descriptor file(memfd_create("mapping_test", MFD_CLOEXEC));
  ASSERT_EQ(pwrite(file.get(), "hello", 5, 0), 5);
  const boost::interprocess::mapped_region region(Mappable{file.get()},
                                                  boost::interprocess::read_only, 0, 5);
  file = Descriptor();
  EXPECT_EQ(std::memcmp(region.get_address(), "hello", 5), 0);
}

}  // namespace
}  // namespace portpool::test
