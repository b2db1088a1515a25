#include "base/hidden_addresses.h"

#include <gtest/gtest.h>

namespace portpool {
namespace {

TEST(WithoutAddresses, TheSameAddressHasTheSameNumber) {
  EXPECT_EQ(without_addresses("10.0.0.5 -> 192.0.2.7:443, 10.0.0.5:80"),
            "address-1 -> address-2:443, address-1:80");
  EXPECT_EQ(without_addresses("[2001:db8::1]:443 and 2001:DB8:0::1."),
            "[address-1]:443 and address-1.");
  EXPECT_EQ(without_addresses("\"10.0.4.0/24:443\""), "\"address-1/24:443\"");
  EXPECT_EQ(without_addresses("::ffff:10.0.0.5 10.0.0.5"), "address-1 address-1");
}

TEST(WithoutAddresses, LeavesWhatIsNoneOrTellsNothing) {
  for (const char* text :
       {"", "127.0.0.1:9001 [::1]:80 :: 0.0.0.0", "at 12:30:45.123", "6.18.44 and 1.2", "dead beef",
        "version 0.1.0: alive", "a10.0.0.5b", "32768-60999", "::::"}) {
    EXPECT_EQ(without_addresses(text), text);
  }
}

}  // namespace
}  // namespace portpool
