// main() of every test program that uses this library: a guest, or GoogleTest.
#include <gtest/gtest.h>

#include "support/guest.h"

int main(int argc, char** argv) {
  int status = 0;
  if (portpool::test::is_guest_call(argc, argv, status)) return status;
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
