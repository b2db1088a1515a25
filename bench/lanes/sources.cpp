#include "figures.h"
#include "server.h"
#include "stage.h"

namespace portpool::bench {

nlohmann::json measure_sources(const LaneOptions& options) {
  constexpr std::uint32_t kWanted = 60'000;
  constexpr std::size_t kClients = 4;
  Stage stage(options,
              "[[pool]]\nname = \"three\"\n"
              "sources = [\"127.0.0.2\", \"127.0.0.3\", \"127.0.0.4\"]\n");
  stage.make_lane();
  const Server server(stage.listener(), Serving::keep, 4);
  const Workers clients = stage.workers(kClients, true);
  const Outcome outcome = run_all(clients, {Job::hold, kWanted / kClients});
  nlohmann::json figures = nlohmann::json::array();
  add_goal(figures, "connections held to one destination", static_cast<double>(outcome.done), "",
           kWanted, true);
  add_goal(figures, "of those by the pool's path", static_cast<double>(outcome.by_pool), "",
           kWanted, true);
  add_goal(figures, "errors", static_cast<double>(outcome.errors), "", 0, false);
  add_figure(figures, "time", static_cast<double>(outcome.wall_us) / 1e6, "s");
  add_figure(figures, "clients' CPU a connection",
             static_cast<double>(outcome.cpu_us) / static_cast<double>(kWanted), "us");
  const nlohmann::json status = stage.daemon().status();
  add_figure(figures, "rejections", status.at("rejections").get<double>(), "");
  return figures;
}

}  // namespace portpool::bench
