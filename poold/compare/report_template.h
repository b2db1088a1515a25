// stats/report.html.in, taken into the program when it is built.
#pragma once

namespace portpool {

// "{{name}}" stands for what html_page.cpp fills in.
extern const char* const kReportTemplate;

}  // namespace portpool
