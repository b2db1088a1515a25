// What the doctor prints.
#pragma once

#include <string>
#include <vector>

#include "doctor/check.h"

namespace portpool::doctor {

// The gravest first: its summary, then what to do; those that are ok only with `all`. In 80 columns
// but for what is to be copied. Control characters in names of processes and the like are replaced.
std::string checks_as_text(const std::vector<Check>& checks, bool all, bool colour);

// {"schema":1,"status":...,"checks":[...]}; on one line when `compact`.
std::string checks_as_json(const std::vector<Check>& checks, bool compact);

// Whether stdout is a terminal that wants colours (NO_COLOR, no-color.org).
bool stdout_wants_colour();

}  // namespace portpool::doctor
