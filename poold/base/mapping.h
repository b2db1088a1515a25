// A descriptor that Boost.Interprocess can map.
#pragma once

#include <boost/interprocess/mapped_region.hpp>

namespace portpool {

struct Mappable {
  int fd;
  boost::interprocess::mapping_handle_t get_mapping_handle() const { return {fd, false}; }
};

}  // namespace portpool
