#include "daemon/succession.h"

#include <string>
#include <vector>

namespace portpool {

Inheritance Succession::find_inheritance(const Config& config, bool take_over) {
  Inheritance inheritance;
  if (take_over) inheritance.predecessor = Predecessor::ask(config.socket);
  inheritance.files =
      inheritance.predecessor ? inheritance.predecessor->take_files() : store_.take();
  return inheritance;
}

void Succession::begun(Daemon& daemon) {
  store_.put(daemon.segment(), daemon.adopted());
  daemon.allow_successors([this](pid_t pid) {
    manager_.main_process(pid);
    loop_.stop();
  });
}

void Succession::start_successor(const Daemon& daemon) {
  std::vector<std::string> environment = manager_.environment_for_successor();
  // A socket that was handed over at the start is not where the configuration says.
  environment.push_back("PORTPOOL_SOCKET=" + daemon.socket_path());
  successor_.start(environment);
}

void Succession::ending(Daemon& daemon) const {
  // Whether another one will be started is not known: programs judge by the heartbeat.
  if (store_.keeps()) daemon.leave_segment();
}

}  // namespace portpool
