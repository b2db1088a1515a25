// Text without the addresses in it, for reports that leave the house.
#pragma once

#include <string>
#include <string_view>

namespace portpool {

// Each address is replaced by "address-N", the same one by the same N; ports stay. What is the same
// on every host stays too: loopback and unspecified addresses. Host names are not touched.
std::string without_addresses(std::string_view text);

}  // namespace portpool
