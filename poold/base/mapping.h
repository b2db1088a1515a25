// What Boost.Interprocess wants of a thing that can be mapped, for a descriptor that is open
// already.
#pragma once

#include <boost/interprocess/mapped_region.hpp>

namespace portpool {

// boost::interprocess::mapped_region(Mappable{fd}, ...); `fd` may be closed afterwards.
struct Mappable {
  int fd;
  boost::interprocess::mapping_handle_t get_mapping_handle() const { return {fd, false}; }
};

}  // namespace portpool
