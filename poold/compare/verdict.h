// The verdict of a comparison in one sentence or two, and what else the reader must be told.
#pragma once

#include "compare/comparison.h"

namespace portpool {

// Sets verdict, sentence and notes from the figures.
void judge(Comparison& comparison, const Trial& trial);

}  // namespace portpool
