// The word that somebody probably meant.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace portpool {

// Of `known` the one that `word` is nearest to, counting letters that are put in, left out, changed
// or swapped with their neighbour; "" when none is nearer than a third of its length, or when
// `word` is longer than 64 bytes.
std::string nearest(std::string_view word, std::span<const std::string> known);

// For a message about `word`: "did you mean "X"?", or `otherwise` where nothing is near.
std::string did_you_mean(std::string_view word, std::span<const std::string> known,
                         std::string_view otherwise);

}  // namespace portpool
