// Numbers as people read them: three digits that matter.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace portpool {

std::string us_text(double us);               // "5.13", "12.3", "1040"
std::string time_text(double us);             // "5.13 µs", "12.5 ms", "1.20 s"
std::string ratio_text(double ratio);         // "0.98", "4.3", "203"
std::string count_text(std::uint64_t count);  // "12,345"
std::string percent_text(double share);       // 0.523: "52 %", 0.004: "0.4 %"
std::string seconds_text(double seconds);     // "0.2 s", "60 s"
// "1 process", "1,024 processes"
std::string counted(std::uint64_t count, std::string_view one, std::string_view many);
std::string p_text(double p);  // "p = 0.03", "p < 0.001"

}  // namespace portpool
