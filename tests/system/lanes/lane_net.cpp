#include "system/lanes/lane_net.h"

namespace portpool::test {

nlohmann::json lane_from(const nlohmann::json& status, const std::string& source,
                         const std::string& destination) {
  for (const nlohmann::json& lane : status.at("lanes")) {
    if (lane.at("source") == source && lane.at("destination") == destination) return lane;
  }
  return nullptr;
}

int number(const nlohmann::json& object, const std::string& key) {
  return object.at(key).get<int>();
}

int counter(const nlohmann::json& status, const std::string& name) {
  return number(status.at("counters"), name);
}

void LaneNet::start(int ports, const std::string& config) {
  set_ports(ports);
  // On a busy machine a FIN is sent twice now and then; the reset that answers the late second one
  // would end the TIME-WAIT (RFC 1337), which tests count.
  net.set_sysctl("net.ipv4.tcp_rfc1337", "1");
  poold = std::make_unique<Poold>("strategy = \"" + strategy() + "\"\n" + config);
  // Status can be had before that, from the segment.
  const bool serves =
      eventually([&] { return poold->process().err().find("serving on") != std::string::npos; });
  if (!serves) throw std::runtime_error("poold does not serve: " + poold->process().err());
}

nlohmann::json LaneNet::lane(const std::string& destination, const std::string& source) const {
  return lane_from(poold->status(), source, destination);
}

bool LaneNet::lane_comes_true(const std::string& destination, const std::string& source) const {
  const auto is_true = [&] {
    const KernelPorts before = kernel_ports(source, destination);
    const nlohmann::json now = lane(destination, source);
    const KernelPorts after = kernel_ports(source, destination);
    return !now.is_null() && before.active == after.active && before.waiting == after.waiting &&
           number(now, "in_use") == after.active &&
           number(now, "quarantined") + number(now, "reusable") == after.waiting &&
           number(now, "free") - number(now, "reusable") ==
               number(now, "capacity") - after.active - after.waiting;
  };
  return eventually(is_true, kSoon);
}

void LaneNet::make_lane(const std::string& destination) const {
  Client client(poold->shim());
  const bool made = eventually([&] {
    const std::uint64_t before = fallbacks(poold->status(), "no_lane");
    client.ask("ports " + destination + " 1");
    const nlohmann::json now = poold->status();
    return !lane_of(now, destination).is_null() && fallbacks(now, "no_lane") == before;
  });
  if (!made) throw std::runtime_error("poold made no lane: " + poold->status().dump());
  // The connection that asked for the lane was open when poold filled it.
  const nlohmann::json status = poold->status();
  for (const nlohmann::json& lane : status.at("lanes")) {
    if (lane.at("destination") == destination && !lane_comes_true(destination, lane.at("source"))) {
      throw std::runtime_error("not as in the kernel's table: " + lane.dump());
    }
  }
}

}  // namespace portpool::test
