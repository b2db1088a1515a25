#include "check/wrapper.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "check/program.h"

namespace portpool::check {
namespace {

using Words = std::span<const std::string>;

constexpr const char* kInside = "put poold run behind it: {0} ... poold run -- COMMAND";

struct Wrapper {
  std::string_view name;
  // How the environment is lost; empty: it is not. `words`: without the wrapper itself.
  std::string (*loses)(Words words);
  const char* fix;  // {0}: the wrapper's name
};

std::string passes(Words /*words*/) { return ""; }

// Calls `visit` with each option until the first word that is none.
template <class Visit>
void visit_options(Words words, Visit visit) {
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--" || !words[i].starts_with('-')) return;
    visit(std::string_view(words[i]), i + 1 < words.size() ? std::string_view(words[i + 1]) : "");
  }
}

bool is_short_options(std::string_view option) {
  return option.size() > 1 && option[0] == '-' && option[1] != '-';
}

// env(1)
std::string by_env(Words words) {
  std::string loses;
  visit_options(words, [&](std::string_view option, std::string_view value) {
    const std::string_view letters = is_short_options(option) ? option.substr(1) : "";
    const bool ignores =
        letters.substr(0, letters.find_first_of("uCS")).find('i') != std::string_view::npos;
    if (option == "-" || option == "--ignore-environment" || ignores) {
      loses = fmt::format("{} drops the environment, and LD_PRELOAD with it", option);
    } else if (option == "-uLD_PRELOAD" || option == "--unset=LD_PRELOAD" ||
               (option == "-u" && value == "LD_PRELOAD")) {
      loses = "it drops LD_PRELOAD, as it is told";
    }
  });
  for (const std::string& word : words) {
    if (word.starts_with('-')) continue;
    if (word.find('=') == std::string::npos) break;
    if (word.starts_with("LD_PRELOAD=")) {
      loses = word.find("libportpool.so") != std::string::npos
                  ? ""
                  : "it replaces LD_PRELOAD by another one";
    }
  }
  return loses;
}

// su(1) and runuser(1) of util-linux: a login shell begins with an environment of its own.
std::string by_login(Words words) {
  bool login = false;
  bool kept = false;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "--") break;
    login = login || word == "-" || word == "-l" || word == "--login";
    const bool separate = word == "-w" || word == "--whitelist-environment";
    if (separate || word.starts_with("--whitelist-environment=") || word.starts_with("-w")) {
      const std::string& list = separate && i + 1 < words.size() ? words[i + 1] : word;
      kept = kept || list.find("LD_PRELOAD") != std::string::npos;
    }
  }
  return login && !kept ? "a login (-, -l) begins with a new environment, without LD_PRELOAD" : "";
}

// setpriv(1)
std::string by_setpriv(Words words) {
  std::string loses;
  visit_options(words, [&](std::string_view option, std::string_view /*value*/) {
    if (option == "--reset-env") loses = "--reset-env drops LD_PRELOAD";
  });
  return loses;
}

std::string always_new(Words /*words*/) { return "it starts programs with a new environment"; }
std::string by_apache(Words /*words*/) {
  return "it is a script that starts Apache by env -i, without LD_PRELOAD";
}
std::string by_mptcpize(Words words) {
  return words.empty() || words[0] == "run" ? "it replaces LD_PRELOAD by its own library" : "";
}
std::string elsewhere(Words /*words*/) {
  return "another process starts the program for it, with an environment of its own";
}

constexpr const char* kLoginFix =
    "leave out the login (-, -l), or keep them: {0} -w LD_PRELOAD,PORTPOOL_SOCKET,PORTPOOL_MODE - "
    "USER";

constexpr Wrapper kWrappers[] = {
    {"env", by_env, kInside},
    {"su", by_login, kLoginFix},
    {"runuser", by_login, kLoginFix},
    {"setpriv", by_setpriv, "leave out --reset-env"},
    {"sudo", always_new, kInside},
    {"doas", always_new, kInside},
    {"pkexec", always_new, kInside},
    {"mptcpize", by_mptcpize,
     "put poold run behind it, which keeps both: {0} run poold run -- COMMAND"},
    {"apache2ctl", by_apache, "export LD_PRELOAD and PORTPOOL_SOCKET in /etc/apache2/envvars"},
    {"apachectl", by_apache, "export LD_PRELOAD and PORTPOOL_SOCKET in /etc/apache2/envvars"},
    {"systemd-run", elsewhere, "{0} --setenv=LD_PRELOAD=... --setenv=PORTPOOL_SOCKET=..."},
    {"docker", elsewhere, "set LD_PRELOAD and PORTPOOL_SOCKET for the container, and mount both"},
    {"podman", elsewhere, "set LD_PRELOAD and PORTPOOL_SOCKET for the container, and mount both"},
    {"gosu", passes, ""},
    {"su-exec", passes, ""},
    {"setuidgid", passes, ""},
    {"s6-setuidgid", passes, ""},
    {"nice", passes, ""},
    {"ionice", passes, ""},
    {"chrt", passes, ""},
    {"taskset", passes, ""},
    {"nohup", passes, ""},
    {"setsid", passes, ""},
    {"timeout", passes, ""},
    {"stdbuf", passes, ""},
    {"time", passes, ""},
    {"prlimit", passes, ""},
    {"tini", passes, ""},
    {"dumb-init", passes, ""},
};

// The first word that is neither an option nor a variable and names a program.
std::size_t inner_program(Words words) {
  for (std::size_t i = 1; i < words.size(); ++i) {
    if (words[i].starts_with('-') || words[i].find('=') != std::string::npos) continue;
    if (is_program(words[i])) return i;
  }
  return 0;
}

}  // namespace

Wrapping wrapping_of(Words words) {
  const std::string_view path = words[0];
  const std::string_view name = path.substr(path.rfind('/') + 1);
  const auto* const found = std::find_if(std::begin(kWrappers), std::end(kWrappers),
                                         [&](const Wrapper& w) { return w.name == name; });
  if (found == std::end(kWrappers)) return {};
  Wrapping wrapping;
  wrapping.loses = found->loses(words.subspan(1));
  if (!wrapping.loses.empty()) {
    wrapping.loses = fmt::format("{}: {}", name, wrapping.loses);
    wrapping.fix = fmt::format(fmt::runtime(found->fix), name);
  }
  wrapping.inner = inner_program(words);
  return wrapping;
}

}  // namespace portpool::check
