#include "system/lanes/client.h"

#include <sstream>
#include <stdexcept>

namespace portpool::test {

int Connected::port() const { return std::stoi(local.substr(local.rfind(':') + 1)); }

std::string Connected::source() const { return local.substr(0, local.rfind(':')); }

std::string Client::ask(const std::string& command) {
  const std::string mark = "#" + std::to_string(asked_++) + " ";
  process_.send_line(command);
  process_.wait_for_output(mark);
  std::string answer;
  const bool whole = eventually([&] {
    const std::string out = process_.out();
    const std::size_t start = out.find(mark) + mark.size();
    const std::size_t end = out.find('\n', start);
    if (end == std::string::npos) return false;
    answer = out.substr(start, end - start);
    return true;
  });
  if (!whole) throw std::runtime_error("half an answer to: " + command);
  return answer;
}

Connected Client::connect(const std::string& destination, const std::string& source) {
  std::istringstream answer(ask("connect " + destination + " " + source));
  Connected result;
  answer >> result.error >> result.fd >> result.local;
  return result;
}

int Client::hold(const std::string& destination, int count) {
  return std::stoi(ask("hold " + destination + " " + std::to_string(count)));
}

}  // namespace portpool::test
